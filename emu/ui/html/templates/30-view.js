// What is looked at: the window of time and addresses, the process, the colouring, the filters. Every picture draws from it.
let GUTTER = 168; // room for names left of the plots, in CSS pixels
const EDGE = 16;
const view = { from: 0, to: span, low: 0, high: 1, process: 0, colour: "served", only: {}, hidden: {} };
const painters = [];
let theme = {}, wanted = false;

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ground", "sheet", "ink", "soft", "faint", "line", "hair", "accent", "wait", "run", "hold", "hold-read", "band", "band-file", "band-exec", "band-edge", "void"];
  theme = Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
  theme.mono = style.getPropertyValue("--mono"); theme.sans = style.getPropertyValue("--sans");
  theme.dark = document.documentElement.dataset.theme === "dark";
  theme.ramp = theme.dark ? data.colours.dark : data.colours.light;
}
function redraw() {
  if (wanted) return;
  wanted = true;
  requestAnimationFrame(drawNow);
}
function drawNow() {
  wanted = false;
  GUTTER = innerWidth < 700 ? 92 : 168;
  count();
  for (const paint of painters) paint();
  const whole = view.from <= 0 && view.to >= span;
  $("range").textContent = whole ? duration(span) : `${tickText(view.from, (view.to - view.from) / 100)} – ${tickText(view.to, (view.to - view.from) / 100)} (${duration(view.to - view.from)})`;
}
// A canvas sized for the screen's pixels: [context, width, height] in CSS pixels.
function prepare(canvas) {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  const width = Math.max(GUTTER + EDGE + 20, Math.round(box.width)), high = Math.max(1, Math.round(box.height));
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(high * ratio)) {
    canvas.width = Math.round(width * ratio); canvas.height = Math.round(high * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, high);
  context.font = "11px " + theme.sans;
  context.textBaseline = "middle";
  return [context, width, high];
}
const timeX = (time, width) => GUTTER + (time - view.from) / (view.to - view.from) * (width - GUTTER - EDGE);
const xTime = (x, width) => view.from + (x - GUTTER) / (width - GUTTER - EDGE) * (view.to - view.from);
function clipped(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  let low = 0, high = text.length;
  while (low < high) { const mid = (low + high + 1) >> 1; if (context.measureText(text.slice(0, mid) + "…").width <= room) low = mid; else high = mid - 1; }
  return low ? text.slice(0, low) + "…" : "";
}

function setTime(from, to) {
  const length = Math.min(span, Math.max(Math.min(span, 50), to - from));
  from = Math.min(Math.max(0, from), span - length);
  view.from = from; view.to = from + length;
  redraw();
}
function setPlace(low, high) {
  const length = Math.min(1, Math.max(1e-6, high - low));
  low = Math.min(Math.max(0, low), 1 - length);
  view.low = low; view.high = low + length;
  redraw();
}
function zoomTime(factor, centre = (view.from + view.to) / 2) {
  setTime(centre - (centre - view.from) * factor, centre + (view.to - centre) * factor);
}
function zoomPlace(factor, centre = (view.low + view.high) / 2) {
  setPlace(centre - (centre - view.low) * factor, centre + (view.high - centre) * factor);
}
function moveTime(part) { const by = (view.to - view.from) * part; setTime(view.from + by, view.to + by); }
function movePlace(part) { const by = (view.high - view.low) * part; setPlace(view.low + by, view.high + by); }
function zoomAll() { view.low = 0; view.high = 1; setTime(0, span); }

// Which combinations are shown, and how many faults of each there are in the window of time.
const size = combos.served.length;
const shown = new Uint8Array(size), ofProcess = new Uint8Array(size), inView = new Float64Array(size);
let first = 0, end = 0;
const DIMENSIONS = { served: "kind", path: "path", reason: "reason", mode: "mode", task: "task", symbol: "symbol", vma: "VMA" };
function applyFilters() {
  for (let i = 0; i < size; i++) {
    ofProcess[i] = combos.process[i] === view.process ? 1 : 0;
    let visible = ofProcess[i];
    for (const dimension in view.only) if (combos[dimension][i] !== view.only[dimension]) visible = 0;
    for (const dimension in view.hidden) if (view.hidden[dimension].has(combos[dimension][i])) visible = 0;
    shown[i] = visible;
  }
  redraw();
}
function count() {
  const { time, combo, count: number } = cells;
  first = lower(time, view.from - data.time_step); end = lower(time, view.to);
  inView.fill(0);
  for (let i = first; i < end; i++) inView[combo[i]] += number[i];
}
// [value, faults] of a dimension in the window, most first; what a filter by another dimension hides is not counted.
function tally(dimension) {
  const sums = new Map();
  for (let i = 0; i < size; i++) {
    if (!inView[i] || !ofProcess[i]) continue;
    let visible = true;
    for (const name in view.only) if (combos[name][i] !== view.only[name]) visible = false;
    for (const name in view.hidden) if (name !== dimension && view.hidden[name].has(combos[name][i])) visible = false;
    if (visible) sums.set(combos[dimension][i], (sums.get(combos[dimension][i]) || 0) + inView[i]);
  }
  return [...sums].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}
function toggle(dimension, value) {
  const hidden = view.hidden[dimension] || (view.hidden[dimension] = new Set());
  if (!hidden.delete(value)) hidden.add(value);
  if (!hidden.size) delete view.hidden[dimension];
  applyFilters();
}
function nameOf(dimension, value) {
  if (data.words[dimension]) return data.words[dimension][value][0];
  if (dimension === "task") return "task " + tid(value);
  if (dimension === "symbol") return data.symbols[value];
  if (dimension === "mode") return ["user", "kernel"][value];
  return String(value);
}
const colourOf = (dimension, value) => dimension === "task" ? taskColour(value) : data.words[dimension][value][1];
