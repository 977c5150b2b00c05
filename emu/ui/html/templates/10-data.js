// The trace as it was packed: numbers in one compressed block, the rest as JSON.
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);

async function unpack() {
  const text = $("blob").textContent;
  let bytes;
  if (Uint8Array.fromBase64) bytes = Uint8Array.fromBase64(text);
  else {
    const raw = atob(text);
    bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  }
  $("blob").remove();
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// One column: byte planes put together again, differences summed up.
function column(block, [offset, count, width, ascending]) {
  const wide = width > 4 || ascending;
  const out = wide ? new Float64Array(count) : width === 1 ? new Uint8Array(count) : width === 2 ? new Uint16Array(count) : new Uint32Array(count);
  let scale = 1;
  for (let plane = 0; plane < width; plane++, scale *= 256) {
    const base = offset + plane * count;
    for (let i = 0; i < count; i++) out[i] += block[base + i] * scale;
  }
  if (ascending) for (let i = 1; i < count; i++) out[i] += out[i - 1];
  return out;
}

const block = await unpack();
const columns = {};
for (const [name, entry] of Object.entries(data.directory)) columns[name] = column(block, entry);
const group = (prefix) => Object.fromEntries(
  Object.keys(columns).filter((name) => name.startsWith(prefix + ".")).map((name) => [name.slice(prefix.length + 1), columns[name]]));
const cells = group("cell"), combos = group("combo"), bands = group("band");
const waits = group("wait"), holds = group("hold"), runs = group("run");
const span = Math.max(1, data.span);

// First index whose value is at least (or, above, more than) x.
function lower(sorted, x, low = 0, high = sorted.length) {
  while (low < high) { const mid = (low + high) >> 1; if (sorted[mid] < x) low = mid + 1; else high = mid; }
  return low;
}

// Each process's address axis, and the place (0 to 1) of each cell on it.
const axes = data.processes.map((process, index) => {
  const axis = group("axis" + index);
  axis.low = Float64Array.from(axis.low, (v) => v / 1e9);
  axis.high = Float64Array.from(axis.high, (v) => v / 1e9);
  axis.row = new Float64Array(axis.pages.length);
  for (let i = 1; i < axis.row.length; i++) axis.row[i] = axis.row[i - 1] + axis.pages[i - 1];
  return axis;
});
const place = new Float64Array(cells.row.length), height = new Float32Array(cells.row.length);
for (let i = 0; i < place.length; i++) {
  const axis = axes[combos.process[cells.combo[i]]], row = cells.row[i];
  let segment = 0, high = axis.row.length;
  while (high - segment > 1) { const mid = (segment + high) >> 1; if (axis.row[mid] <= row) segment = mid; else high = mid; }
  const page = (axis.high[segment] - axis.low[segment]) / axis.pages[segment];
  place[i] = axis.low[segment] + (row - axis.row[segment]) * page;
  height[i] = page * Math.min(data.row_step, axis.pages[segment]);
}
function placeOf(axis, page) {
  let segment = 0, high = axis.start.length;
  while (high - segment > 1) { const mid = (segment + high) >> 1; if (axis.start[mid] <= page) segment = mid; else high = mid; }
  const part = Math.min(1, Math.max(0, (page - axis.start[segment]) / axis.pages[segment]));
  return axis.low[segment] + part * (axis.high[segment] - axis.low[segment]);
}
function pageAt(axis, at) {
  let segment = 0;
  while (segment + 1 < axis.low.length && axis.low[segment + 1] <= at) segment++;
  if (at > axis.high[segment]) return -1;
  return axis.start[segment] + Math.floor((at - axis.low[segment]) / (axis.high[segment] - axis.low[segment]) * axis.pages[segment]);
}
