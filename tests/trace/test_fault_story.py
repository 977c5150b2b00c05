# SPDX-License-Identifier: GPL-2.0-or-later
"""report --fault: the story agrees with the events, on every architecture; hand-checked ones to the word."""

from __future__ import annotations

from pathlib import Path

import pytest

from archs.explain import Facts, explain, fault_flag_names, vm_fault_names
from emu.trace.fault_story import NoSuchFault, explainer_of, tell_fault
from emu.trace.instruction import disassemble, resolve
from emu.trace.reader import Trace
from emu.tracepoint import Kind as K
from emu.tracepoint import Path as P
from emu.tracepoint import Reason, Row, Served
from tests.guests import TARGETS, guest, mmscope
from tests.trace.rows import damage_column, event, write_trace

GUESTS = ("faults", "segv", "kernel_access")


def sections(lines: list[str]) -> dict[str, list[str]]:
    """The indented lines by the heading above them."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in lines:
        if line and not line.startswith(" "):
            heading = line.split(",")[0]
        elif line:
            found.setdefault(heading, []).append(line.strip())
    return found


def story(trace: Path, number: int) -> dict[str, list[str]]:
    return sections(list(tell_fault(Trace(str(trace)), number)))


def faults_of(trace: Path) -> list[Row]:
    return [row for row in Trace(str(trace)).rows() if row[4] in (1, 2)]


@pytest.mark.parametrize(
    ("target", "locking"), [*((target, "6.18") for target in TARGETS), ("aarch64", "rfc"), ("powerpc", "mmap_lock")]
)
def test_faults_agree_with_their_events(target: str, locking: str, tmp_path: Path) -> None:
    """The checks lead to the recorded outcome, the locks are those of the events, the address is the operand's."""
    seen: set[int] = set()
    for name in GUESTS if locking == "6.18" else GUESTS[:1]:
        trace = tmp_path / name
        mmscope("record", "--locking", locking, "-o", trace, guest(name, target))
        for number, row in enumerate(faults_of(trace), 1):
            seen.add(row[13])
            if number % 3 and row[13] not in (Served.SIGNAL, Served.FIXUP) and row[11] == P.VMA_LOCK:
                continue
            told = story(trace, number)
            checks = told["Checks"]
            assert not any("does not agree" in line for line in checks), (number, checks)
            refused = row[13] in (Served.SIGNAL, Served.FIXUP, Served.OOM)
            assert checks[-1].startswith("FAILED") == refused, (number, checks)
            took_vma_lock = any(line.startswith("VMA lock") and "read: taken" in line for line in told["Locks"])
            tried = (
                row[4] == K.PAGE_FAULT_USER and locking == "6.18" and row[12] == Reason.NONE and row[11] == P.VMA_LOCK
            )
            if tried:
                assert took_vma_lock, (number, told["Locks"])
            if row[11] in (P.MMAP_LOCK, P.MMAP_LOCK_WRITE):
                taken = [line for line in told["Locks"] if "mmap_lock" in line]
                assert "read: taken" in taken[0], (number, taken)
                assert "released" in taken[-1], (number, taken)
                assert sum("taken" in line for line in taken) == sum("released" in line for line in taken) + (
                    row[11] == P.MMAP_LOCK_WRITE
                )
            assert told["Syndrome"][0] == f"{row[7]:#x}"
            assert told["Outcome"][0].startswith(Served(row[13]).name.lower())
            if row[13] == Served.SIGNAL:
                assert any(line.startswith("signal  SIG") for line in told["Outcome"]), number
            instruction = told["Instruction"]
            if row[6]:
                assert instruction[0].startswith(f"{row[6]:#x}")
                assert not any("is not what faulted" in line for line in instruction), (number, instruction)
                assert any("as the file has it" in line for line in instruction), (number, instruction)
            before, after = (row[18] or (0, 0))[:2]
            entry = told["Page-table entry"]
            assert entry[0].split()[:2] == ["before", f"{before:#x}" if before else "0"]
            if before != after:
                assert f"after   {after:#x}" in entry or (not after and "after   0  empty, or no table there" in entry)
    assert {Served.ANON, Served.COW, Served.FILE_READ, Served.SIGNAL} <= seen


def test_a_write_to_the_zero_page(tmp_path: Path) -> None:
    """Checked by hand against the program, the manuals and the entries."""
    for target, syndrome, before, after in (
        ("x86_64", ["P 0x1 an entry is present and forbids the access", "W 0x1 a write"], "special", "D"),
        ("aarch64", ["WnR 0x1 a write", "DFSC 0xf level 3 permission fault"], "PTE_SPECIAL", "PTE_DIRTY"),
        (
            "powerpc64",
            ["trap 0x300 data storage interrupt", "PROTFAULT 0x1 the entry forbids the access"],
            "special",
            "C",
        ),
        ("powerpc64le", ["ISSTORE 0x1 a store"], "special", "C"),
        ("powerpc", ["ISSTORE 0x1 a store"], "SPECIAL", "DIRTY"),
    ):
        trace = tmp_path / target
        mmscope("record", "-o", trace, guest("faults", target))
        rows = faults_of(trace)
        number = next(n for n, row in enumerate(rows, 1) if row[13] == Served.COW)
        told = story(trace, number)
        words = [" ".join(line.split()) for line in told["Syndrome"]]
        for line in syndrome:
            assert line in words, (target, words)
        entry = told["Page-table entry"]
        split = next(index for index, line in enumerate(entry) if line.startswith("after"))
        assert any(line.split()[0] == before for line in entry[:split]), entry
        assert any(line.split()[0] == after for line in entry[split:]), entry
        assert not any(line.split()[0] == before for line in entry[split:]), entry
        assert "rw-p" in told["VMA"][0]
        assert "VM_READ|VM_WRITE" in told["VMA"][1]
        assert told["Outcome"][0].startswith("cow: ")


def test_a_stack_that_grows(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("stack"))
    number = next(n for n, row in enumerate(faults_of(trace), 1) if row[11] == P.MMAP_LOCK_WRITE)
    told = story(trace, number)
    assert told["VMA"][0] == "no VMA contains the address"
    assert "[stack]" in told["VMA"][2]
    assert told["Locks"][:3] == [
        "mmap_lock of mm 1 for read: taken", "mmap_lock of mm 1 for read: released",
        "mmap_lock of mm 1 for write: taken",
    ]  # fmt: skip
    assert any("a stack that grew" in line for line in told["Checks"])


@pytest.mark.parametrize("entered", [5, 11])  # the holder's call began before the fault, or when it was under way
def test_waits_and_holders(entered: int, tmp_path: Path) -> None:
    rows = [
        event(K.VMA_CREATE, 0, tid=1, address=0x1000, size=0x2000, flags=0x73, vma=5, args=(1, 0, 0, 0)),
        event(K.SYS_ENTER, 1, tid=2, text="madvise"),
        event(K.SYS_EXIT, 4, tid=2, text="madvise"),
        event(K.SYS_ENTER, entered, tid=2, text="munmap"),
        event(K.PAGE_FAULT_USER, 10, tid=1, address=0x1008, ip=0x400, code=6, vma=5, path=P.MMAP_LOCK, flags=0x254,
              reason=Reason.WRITE_LOCKED, served=1, wait=2000, holder=2, duration=2500, args=(0, 0x8000000000034067)),
        event(K.VMA_LOCK_READ_FAILED, 11, tid=1, vma=5, reason=Reason.WRITE_LOCKED),
        event(K.MMAP_LOCK_START_LOCKING, 12, tid=1, address=1),
        event(K.CONTENTION_BEGIN, 12, tid=1, address=1, text="mmap_lock", holder=2),
        event(K.MMAP_LOCK_RELEASED, 2011, tid=2, address=1, code=1, duration=2000),
        event(K.CONTENTION_END, 2012, tid=1, address=1, text="mmap_lock", wait=2000),
        event(K.MMAP_LOCK_ACQUIRE_RETURNED, 2012, tid=1, address=1, result=1, wait=2000, holder=2),
        event(K.MMAP_LOCK_RELEASED, 2500, tid=1, address=1, duration=488),
        event(K.MMAP_LOCK_START_LOCKING, 9000, tid=1, address=1),
    ]  # fmt: skip
    if entered > 10:
        rows.insert(4, rows.pop(3))
    told = story(write_trace(tmp_path / "trace", rows), 1)
    assert told["Locks"] == [
        "VMA lock of VMA 5 for read: refused, write_locked",
        "begins to wait for mmap_lock of mm 1 for read at 12 ns, which task 2 (in munmap) holds",
        "has it at 2012 ns, after 2.00 us",
        "mmap_lock of mm 1 for read: taken, after a wait of 2.00 us for task 2 (in munmap)",
        "mmap_lock of mm 1 for read: released, held 488 ns",
        "in all, 2.00 us of 2.50 us were waits, the last for task 2 (in munmap)",
    ]
    assert "FAILED  lock_vma_under_rcu finds the VMA and locks it for read: a writer holds it" in told["Checks"]


def test_source_lines_are_told(tmp_path: Path) -> None:
    import shutil
    import subprocess

    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    source = tmp_path / "touch.c"
    source.write_text(
        "char place[9 << 12];\nint main(void)\n{\n    place[8192] = 42;  // [bold]here\n    return 0;\n}\n"
    )
    program = tmp_path / "touch"
    subprocess.run(["gcc", "-O1", "-g", "-static", "-no-pie", "-o", program, source], check=True)
    trace = tmp_path / "trace"
    assert mmscope("record", "-o", trace, program).status == 0
    shown = mmscope("report", "--by", "line", trace).out.decode()
    assert "touch.c:4" in shown
    rows = faults_of(trace)
    from emu.trace.symbols import Symbols

    symbols = Symbols.of_file(str(program))
    number = next(n for n, row in enumerate(rows, 1) if symbols.line(row[6]) == (str(source), 4) and row[5] != row[6])
    told = story(trace, number)["Instruction"]
    assert f"{source}:4" in told
    assert "place[8192] = 42;  // [bold]here" in told
    assert any(f"= {rows[number - 1][5]:#x}, which is what faulted" in line for line in told), told
    program.unlink()
    gone = mmscope("report", "--fault", str(number), trace).out.decode()
    assert "its code is not known" in gone
    assert gone.count("No such file or directory: no symbols") == 1


@pytest.mark.parametrize(
    ("arch", "code", "fault", "text"),
    [
        ("x86_64", "488b0510000000", 0x1017, "[rip + 0x10] = 0x1017, which is what faulted"),
        ("x86_64", "488b042500300000", 0x3000, "[0x3000] = 0x3000, which is what faulted"),
        (
            "x86_64",
            "488b0425fc2f0000",
            0x3000,
            "[0x2ffc] = 0x2ffc; its end, in the next page, is what faulted (0x3000)",
        ),
        ("x86_64", "488b0425f02f0000", 0x3000, "[0x2ff0] = 0x2ff0, which is not what faulted (0x3000)"),
        ("x86_64", "488b4308", 0x5008, "[rbx + 0x8] = 0x5008, so rbx was 0x5000 (derived"),
        ("x86_64", "50", 0x7FF8, "[rsp - 0x8] = 0x7ff8, so rsp was 0x8000 (derived"),
        ("x86_64", "f3a4", 0x9010, "which of them faulted cannot be told without the registers"),
        ("aarch64", "200840f9", 0x5010, "[x1 + 0x10] = 0x5010, so x1 was 0x5000 (derived"),
        ("aarch64", "40000058", 0x1008, "[pc + 0x8] = 0x1008, which is what faulted"),
        ("powerpc64", "e8640010", 0x5010, "[r4 + 0x10] = 0x5010, so r4 was 0x5000 (derived"),
        ("powerpc64le", "100064e8", 0x5010, "[r4 + 0x10] = 0x5010, so r4 was 0x5000 (derived"),
        ("powerpc", "80640010", 0x5010, "[r4 + 0x10] = 0x5010, so r4 was 0x5000 (derived"),
        ("powerpc", "7c64282e", 0x5010, "[r4 + r5] = 0x5010; what each of r4 and r5 was is not recorded"),
    ],
)
def test_operands(arch: str, code: str, fault: int, text: str) -> None:
    instruction = disassemble(arch, 0x1000, bytes.fromhex(code))
    assert instruction is not None
    assert any(line.startswith(text) for line in resolve(instruction, fault)), resolve(instruction, fault)


@pytest.mark.parametrize("locking", ["mmap_lock", "spf", "rfc", "6.4", "6.18"])
def test_every_way_of_a_scheme_is_told_as_it_went(locking: str, tmp_path: Path) -> None:
    """Threads on four CPUs that fault, map and fork: one fault of each path, reason, outcome, retry and wait."""
    trace = tmp_path / "t"
    mmscope("record", "--locking", locking, "--cpus", "4", "-o", trace, guest("mm_storm"))
    ways: dict[tuple[object, ...], int] = {}
    rows = faults_of(trace)
    for number, row in enumerate(rows, 1):
        ways.setdefault((row[4], row[11], row[12], row[13], bool(row[9] & 0x20), row[14] > 0), number)
    assert len({rows[number - 1][12] for number in ways.values()}) >= (1 if locking == "mmap_lock" else 3)
    for number in ways.values():
        row = rows[number - 1]
        told = story(trace, number)
        assert not any("does not agree" in line for line in told["Checks"]), (number, told["Checks"])
        locks = told["Locks"]
        under = row[11] in (P.MMAP_LOCK, P.MMAP_LOCK_WRITE)
        taken = any("mmap_lock of mm" in line and "taken" in line for line in locks)
        # vmf_anon_prepare of 6.18 takes mmap_lock while it has the VMA lock, for the first anon_vma.
        prepares = locking == "6.18" and row[11] == P.VMA_LOCK and "VMA lock of" in locks[0]
        assert taken == under or (taken and prepares), (number, locks)
        if row[11] == P.VMA_LOCK:
            assert any(line.startswith("VMA lock of") and "taken" in line for line in locks), (number, locks)
        if row[12]:
            assert any(Reason(row[12]).name.lower() in line for line in told["Outcome"]), (number, told["Outcome"])


REGISTERS = {
    "rdi": 0x5FFC, "rsi": 0x7000, "rcx": 3, "rsp": 0x9008, "rbp": 0x8000, "fs_base": 0x4000,
    "rax": 0xFFFF_FFFF_0000_0010,
    "x0": 0x5FF8, "x1": 0xFFFF_FFFE, "x2": 0x6044, "sp": 0x9000, "r1": 0x8000, "r3": 0x5FFC, "r4": 0x1_0000_0008,
    "r9": 0x6090,
}  # fmt: skip


@pytest.mark.parametrize(
    ("arch", "code", "fault", "told"),
    [
        ("x86_64", "f3 a4", 0x7000, ["not what", "= 0x7000, which is what faulted (rsi = 0x7000)"]),  # rep movsb
        ("x86_64", "f3 48 ab", 0x6000, ["= 0x5ffc; 4 bytes on, at 0x6000, is what faulted"]),  # rep stosq
        ("x86_64", "0f 11 44 8f 10", 0x6018, ["[rdi + rcx * 4 + 0x10] = 0x6018, which is what faulted"]),  # movups
        ("x86_64", "c5 fc 11 07", 0x6000, ["= 0x5ffc; 4 bytes on"]),  # vmovups ymm
        ("x86_64", "64 89 0c 25 f8 ff ff ff", 0x3FF8, ["[fs_base - 0x8] = 0x3ff8, which is what faulted"]),
        ("x86_64", "55", 0x9000, ["[rsp - 0x8] = 0x9000, which is what faulted"]),  # push rbp
        ("x86_64", "ff 17", 0x9000, ["[rdi] = 0x5ffc, which is not", "[rsp - 0x8] = 0x9000, which is what"]),  # call
        ("x86_64", "c3", 0x9008, ["[rsp] = 0x9008, which is what faulted"]),
        ("x86_64", "67 89 08", 0x10, ["= 0x10, which is what faulted"]),  # mov [eax], ecx
        ("aarch64", "00 04 00 ad", 0x6000, ["[x0] = 0x5ff8; 8 bytes on"]),  # stp q0, q1, [x0]
        (
            "aarch64",
            "fd 7b bf a9",
            0x8FF0,
            ["[sp - 0x10] = 0x8ff0, which is what faulted"],
        ),  # stp x29, x30, [sp, #-16]!
        ("aarch64", "fd 7b c1 a8", 0x9000, ["[sp] = 0x9000, which is what faulted"]),  # ldp x29, x30, [sp], #16
        ("aarch64", "03 d8 21 b8", 0x5FF0, ["= 0x5ff0, which is what faulted"]),  # str w3, [x0, w1, sxtw #2]
        ("aarch64", "22 74 0b d5", 0xFFFF_FFC0, ["a line of 64 bytes"]),  # dc zva, x2
        ("aarch64", "00 2c 00 4c", 0x6020, ["[x0] = 0x5ff8; 40 bytes on"]),  # st4 {v0.2d-v3.2d}, [x0]
        ("powerpc64", "f8 21 ff e1", 0x7FE0, ["[r1 - 0x20] = 0x7fe0, which is what faulted"]),  # stdu r1, -32(r1)
        ("powerpc64", "7c 03 27 98", 0x1_0000_6004, ["= 0x100006004, which is what faulted"]),  # stxvd2x vs0, r3, r4
        ("powerpc64", "7c 00 4f ec", 0x6080, ["= 0x6080, a line of 128 bytes, which is what faulted"]),  # dcbz 0, r9
        ("powerpc", "7c 63 21 2e", 0x6004, ["= 0x6004, which is what faulted"]),  # stwx r3, r3, r4: 32 bits
        ("powerpc", "bf 81 ff f0", 0x7FF8, ["[r1 - 0x10] = 0x7ff0; 8 bytes on"]),  # stmw r28, -16(r1)
    ],
)
def test_operands_with_registers(arch: str, code: str, fault: int, told: list[str]) -> None:
    """String instructions, vector stores, pushes and calls, pairs, indexed forms, cache lines: each operand's address
    is worked out, and the one that faulted is named."""
    instruction = disassemble(arch, 0x1000, bytes.fromhex(code))
    assert instruction is not None
    lines = resolve(instruction, fault, REGISTERS)
    assert len(lines) == len(told), lines
    assert all(text in line for text, line in zip(told, lines)), lines


@pytest.mark.parametrize("target", TARGETS)
def test_recorded_registers_lead_to_the_address(target: str, tmp_path: Path) -> None:
    """Of every fault on data an operand of its instruction is the address that faulted, to the byte."""
    trace = tmp_path / "t"
    mmscope("record", "--user-regs", "--cpus", "2", "-o", trace, guest("mm_storm", target))
    rows = faults_of(trace)
    checked = 0
    for number in [*range(1, len(rows), 97), len(rows) - 1]:
        row = rows[number - 1]
        if row[4] != K.PAGE_FAULT_USER or row[5] == row[6]:
            continue
        told = story(trace, number)["Instruction"]
        assert any(f"= {row[5]:#x}, which is what faulted" in line for line in told), told
        checked += 1
    assert checked >= 5


def test_checks_stop_where_the_function_returned() -> None:
    x86, arm, power = explainer_of("x86_64"), explainer_of("aarch64"), explainer_of("powerpc64")
    assert x86 is not None
    assert arm is not None
    assert power is not None
    none = {
        "user": True,
        "flags": 0,
        "path": 0,
        "reason": 0,
        "served": Served.SIGNAL,
        "result": 0,
        "vma": 0,
        "vm_flags": None,
    }
    kernel_address = explain(x86, Facts(0xFFFF800000000000, 5, **none))  # type: ignore[arg-type]
    assert [check.passed for check in kernel_address] == [False]
    external = explain(arm, Facts(0x1000, 0x92000010, **none))  # type: ignore[arg-type]
    assert "do_sea" in external[0].text
    segment = explain(power, Facts(1 << 60, 0x380 << 32, **none))  # type: ignore[arg-type]
    assert [check.passed for check in segment] == [False]


def test_words() -> None:
    assert vm_fault_names(0) == "0"
    assert vm_fault_names(0x700) == "VM_FAULT_NOPAGE|VM_FAULT_LOCKED|VM_FAULT_RETRY"
    assert fault_flag_names(0x41) == "FAULT_FLAG_WRITE|FAULT_FLAG_USER"
    assert vm_fault_names(1 << 20) == "0x100000"


def test_there_is_no_such_fault(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "trace", [event(K.PAGE_FAULT_USER)])
    for number in (0, 2, -1):
        with pytest.raises(NoSuchFault):
            list(tell_fault(Trace(str(path)), number))
    shown = mmscope("report", "--fault", "2", path)
    assert (shown.status, shown.err.count("\n")) == (2, 1)


def test_a_fault_that_is_counted_and_cannot_be_read(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "trace", (event(K.PAGE_FAULT_USER, n) for n in range(1000)))
    shown = mmscope("report", "--fault", "3", damage_column(path, "time"))
    assert (shown.status, shown.out, shown.err.count("\n")) == (2, b"", 1)
    assert shown.err.startswith(f"mmscope: {path}: damaged or cut off after 0 events (")


def test_script_numbers_faults(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    mmscope("record", "-o", trace, guest("hello"))
    numbers = [
        line.split("#")[1].split()[0] for line in mmscope("script", trace).out.decode().splitlines() if " #" in line
    ]
    assert numbers == [str(n) for n in range(1, len(faults_of(trace)) + 1)]
    entry = mmscope("script", "--from-entry", trace).out.decode().splitlines()[0]
    first = next(n for n, row in enumerate(faults_of(trace), 1) if row[4] == 1)
    assert f" #{first} " in entry
