// Numbers as a person reads them, and elements made without ever parsing text as HTML.
function duration(ns, digits = 3) {
  const size = Math.abs(ns);
  const [scale, unit] = size >= 1e9 ? [1e9, "s"] : size >= 1e6 ? [1e6, "ms"] : size >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const value = ns / scale, whole = Math.floor(Math.abs(value)).toString().length;
  return value.toFixed(scale === 1 ? 0 : Math.max(0, digits - whole)) + "\u00a0" + unit;
}
const grouped = (number) => String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const hexPage = (page) => "0x" + page.toString(16) + "000";
const percent = (part, whole) => whole ? (part === whole ? "100 %" : Math.min(99.9, Math.max(part ? 0.1 : 0, 100 * part / whole)).toFixed(1) + " %") : "–";
function memory(pages) {
  let size = pages * 4;
  for (const unit of ["KiB", "MiB", "GiB"]) { if (size < 1024) return (Number.isInteger(size) ? size : size.toFixed(1)) + " " + unit; size /= 1024; }
  return size.toFixed(size < 10 ? 1 : 0) + " TiB";
}
function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") made.className = value;
    else if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}
const permissions = (flags) => (flags & 1 ? "r" : "-") + (flags & 2 ? "w" : "-") + (flags & 4 ? "x" : "-") + (flags & 8 ? "s" : "p");
const taskColour = (index) => data.colours.tasks[index % data.colours.tasks.length];
const call = (number) => number ? data.texts[number] : "page fault";
const told = (dimension) => !data.dropped.includes(dimension); // are faults told apart by it?
const tid = (index) => data.tids[index];

// Ticks at round values: about one for every `gap` pixels.
function ticks(from, to, pixels, gap = 110) {
  const wanted = (to - from) / Math.max(1, pixels / gap);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= wanted) || power * 10);
  const found = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) found.push(at);
  return [found, step];
}
function tickText(ns, step) {
  const [scale, unit] = ns >= 1e9 && step >= 1e4 ? [1e9, "s"] : ns >= 1e6 && step >= 10 ? [1e6, "ms"] : ns >= 1e3 ? [1e3, "µs"] : [1, "ns"];
  const decimals = Math.max(0, Math.min(6, Math.ceil(-Math.log10(step / scale) - 1e-9)));
  return (ns / scale).toFixed(decimals) + "\u00a0" + unit;
}
