// Pointer and keyboard.
const tips = { heat: heatTip, tasks: taskTip, cpus: cpuTip, reasons: reasonsTip };
let kept = false, drag = null;
function hideTip() { kept = false; $("tip").hidden = true; $("tip").classList.remove("kept"); if (lit >= 0) { lit = -1; redraw(); } }
function showTip(id, event) {
  const canvas = $(id), box = canvas.getBoundingClientRect(), before = lit;
  const found = tips[id](event.clientX - box.left, event.clientY - box.top, box.width, box.height);
  if (lit !== before) redraw();
  const tip = $("tip");
  if (!found) { tip.hidden = true; return; }
  const list = element("dl");
  for (const [name, value, style] of found.rows) list.append(element("dt", { text: name }), element("dd", { text: value, class: style || "" }));
  tip.replaceChildren(element("h4", { text: found.title }), list);
  tip.hidden = false;
  const size = tip.getBoundingClientRect();
  const left = event.clientX + 16 + size.width > innerWidth ? event.clientX - size.width - 12 : event.clientX + 16;
  tip.style.setProperty("left", Math.max(4, left) + "px");
  tip.style.setProperty("top", Math.max(4, Math.min(event.clientY + 14, innerHeight - size.height - 6)) + "px");
}
const marquee = element("div", { id: "marquee", "aria-hidden": "true" });
for (const id of Object.keys(tips)) {
  const canvas = $(id);
  canvas.addEventListener("pointermove", (event) => { if (!drag && !kept) showTip(id, event); });
  canvas.addEventListener("pointerleave", () => { if (!kept && !drag) hideTip(); });
  canvas.addEventListener("dblclick", () => { hideTip(); zoomAll(); });
  canvas.addEventListener("wheel", (event) => {
    const box = canvas.getBoundingClientRect(), amount = event.deltaY || event.deltaX;
    if (event.ctrlKey || event.metaKey || (event.altKey && id === "heat")) {
      event.preventDefault();
      const factor = Math.exp(Math.max(-1, Math.min(1, amount / 300)));
      if (event.altKey && id === "heat") zoomPlace(factor, view.low + (box.bottom - event.clientY) / box.height * (view.high - view.low));
      else zoomTime(factor, xTime(event.clientX - box.left, box.width));
    } else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) { event.preventDefault(); moveTime((event.deltaX || event.deltaY) / 900); }
    if (!kept) $("tip").hidden = true;
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button || event.clientX - canvas.getBoundingClientRect().left < GUTTER) return;
    drag = { id, x: event.clientX, y: event.clientY, move: event.shiftKey, view: { ...view }, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!drag || drag.id !== id) return;
    const box = canvas.getBoundingClientRect(), dx = event.clientX - drag.x, dy = event.clientY - drag.y;
    if (Math.abs(dx) + Math.abs(dy) > 5) drag.moved = true;
    if (!drag.moved) return;
    $("tip").hidden = true;
    if (drag.move) {
      const was = drag.view, plot = box.width - GUTTER - EDGE;
      setTime(was.from - dx / plot * (was.to - was.from), was.to - dx / plot * (was.to - was.from));
      if (id === "heat") setPlace(was.low + dy / box.height * (was.high - was.low), was.high + dy / box.height * (was.high - was.low));
      return;
    }
    const left = Math.max(box.left + GUTTER, Math.min(drag.x, event.clientX)), right = Math.min(box.right - EDGE, Math.max(drag.x, event.clientX));
    drag.both = id === "heat" && Math.abs(dy) > 14;
    const top = drag.both ? Math.max(box.top, Math.min(drag.y, event.clientY)) : box.top, bottom = drag.both ? Math.min(box.bottom, Math.max(drag.y, event.clientY)) : box.bottom;
    drag.box = { left: left - box.left, right: right - box.left, top: top - box.top, bottom: bottom - box.top };
    for (const [name, value] of [["left", left], ["top", top], ["width", right - left], ["height", bottom - top]]) marquee.style.setProperty(name, value + "px");
    if (!marquee.isConnected) document.body.append(marquee);
  });
  const drop = (event) => {
    if (!drag || drag.id !== id) return;
    const done = drag, box = canvas.getBoundingClientRect();
    drag = null; marquee.remove();
    if (!done.moved) { hideTip(); showTip(id, event); kept = !$("tip").hidden; $("tip").classList.toggle("kept", kept); return; }
    if (done.move || !done.box || done.box.right - done.box.left < 3) return;
    const from = xTime(done.box.left, box.width), to = xTime(done.box.right, box.width), { low, high } = view;
    if (done.both) setPlace(low + (box.height - done.box.bottom) / box.height * (high - low), low + (box.height - done.box.top) / box.height * (high - low));
    setTime(from, to);
  };
  canvas.addEventListener("pointerup", drop);
  canvas.addEventListener("pointercancel", () => { drag = null; marquee.remove(); });
}
const whole = $("overview");
function overviewTo(event) {
  const box = whole.getBoundingClientRect(), at = (event.clientX - box.left - GUTTER) / (box.width - GUTTER - EDGE) * span, length = view.to - view.from;
  setTime(at - length / 2, at + length / 2);
}
whole.addEventListener("pointerdown", (event) => { whole.setPointerCapture(event.pointerId); whole.dataset.held = "1"; overviewTo(event); });
whole.addEventListener("pointermove", (event) => { if (whole.dataset.held) overviewTo(event); });
whole.addEventListener("pointerup", () => { delete whole.dataset.held; });
whole.addEventListener("wheel", (event) => { event.preventDefault(); zoomTime(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 300)))); }, { passive: false });

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $("theme").textContent = name === "dark" ? "Light" : "Dark";
  readTheme(); redraw();
}
function otherTheme() { setTheme(theme.dark ? "light" : "dark"); }
function setColour(name) {
  view.colour = name;
  for (const button of $("colour").children) { const on = button.dataset.colour === name; button.setAttribute("aria-checked", on); button.tabIndex = on ? 0 : -1; }
  redraw();
}
function nextColour(step) {
  const names = COLOURINGS.map(([name]) => name);
  setColour(names[(names.indexOf(view.colour) + step + names.length) % names.length]);
}
function chooseProcess(index) { view.process = index; $("process").value = index; applyFilters(); }
const KEYS = {
  ArrowLeft: () => moveTime(-0.15), ArrowRight: () => moveTime(0.15), ArrowUp: () => movePlace(0.15), ArrowDown: () => movePlace(-0.15),
  "+": () => zoomTime(0.6), "=": () => zoomTime(0.6), "-": () => zoomTime(1 / 0.6), "]": () => zoomPlace(0.6), "[": () => zoomPlace(1 / 0.6),
  0: zoomAll, c: () => nextColour(1), t: otherTheme, "?": () => $("help").showModal(),
  "/": () => { $("search").focus(); $("search").scrollIntoView({ block: "center" }); },
};
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { hideTip(); if (document.activeElement === $("search")) { $("search").value = ""; fillTables(); $("search").blur(); } return; }
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  const arrows = event.key.startsWith("Arrow");
  if (arrows && event.target.getAttribute("role") === "radio") {
    event.preventDefault(); nextColour(event.key === "ArrowRight" || event.key === "ArrowDown" ? 1 : -1); $("colour").querySelector("[aria-checked=true]").focus(); return;
  }
  if (arrows && event.target.tagName !== "CANVAS" && (event.key === "ArrowUp" || event.key === "ArrowDown")) return; // these scroll the page
  if (KEYS[event.key]) { event.preventDefault(); KEYS[event.key](); }
});
