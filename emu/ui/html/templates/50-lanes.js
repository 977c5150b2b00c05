// Timelines of CPUs and of tasks: who ran, who waited for a lock, who held mmap_lock, and who was waited for.
const laneOf = new Map(data.lanes.map((task, lane) => [task, lane]));
const cpuLane = new Map(data.cpus.map((cpu, lane) => [cpu, lane]));
const laneHeight = (count) => count <= 12 ? 22 : count <= 32 ? 15 : 10;
const byLength = Uint32Array.from(waits.since.keys()).sort((a, b) => waits.duration[b] - waits.duration[a]);
let lit = -1; // the wait under the pointer
let arrowsDrawn = 0, waitsInView = 0;

// The last interval that may reach into the view, for intervals sorted by their begin: all from 0 on are looked at.
function each(intervals, visit) {
  const stop = lower(intervals.since, view.to);
  for (let i = 0; i < stop; i++) if (intervals.since[i] + intervals.duration[i] >= view.from) visit(i);
}
// Draws intervals into lanes: wide ones as boxes, narrow ones as shade by how much of a column they fill.
function paintIntervals(context, width, intervals, lane, style) {
  const plot = width - GUTTER - EDGE, shades = new Map();
  each(intervals, (i) => {
    const row = lane(i);
    if (row === undefined) return;
    const left = Math.max(GUTTER, timeX(intervals.since[i], width)), right = Math.min(width - EDGE, timeX(intervals.since[i] + intervals.duration[i], width));
    if (right - left >= 1.5) { context.fillStyle = style.colour(i); context.fillRect(left, row * style.step + style.top, right - left, style.thick); return; }
    let shade = shades.get(row);
    if (!shade) shades.set(row, shade = new Float32Array(plot + 1));
    shade[Math.min(plot, left - GUTTER | 0)] += Math.max(right - left, 0.12);
  });
  context.fillStyle = style.shade;
  for (const [row, shade] of shades) for (let x = 0; x < shade.length; x++) if (shade[x]) {
    context.globalAlpha = Math.min(1, 0.25 + 0.75 * shade[x]);
    context.fillRect(GUTTER + x, row * style.step + style.top, 1, style.thick);
  }
  context.globalAlpha = 1;
}
function laneFrame(canvas, labels) {
  const step = laneHeight(labels.length);
  canvas.style.setProperty("height", `${labels.length * step + 6}px`);
  const [context, width, high] = prepare(canvas);
  context.textAlign = "right";
  context.font = `${step > 12 ? 11 : 9}px ${theme.sans}`;
  labels.forEach((label, lane) => {
    context.fillStyle = theme.hair;
    context.fillRect(GUTTER, (lane + 1) * step - 1, width - GUTTER - EDGE, 1);
    context.fillStyle = theme.soft;
    context.fillText(clipped(context, label, GUTTER - 20), GUTTER - 8, lane * step + step / 2);
  });
  context.textAlign = "left";
  return [context, width, high, step];
}
function paintCpus() {
  const [context, width, , step] = laneFrame($("cpus"), data.cpus.map((cpu) => "CPU " + cpu));
  const thick = Math.round(step * 0.56);
  paintIntervals(context, width, runs, (i) => cpuLane.get(runs.cpu[i]), { step, top: 2, thick, colour: (i) => taskColour(runs.task[i]), shade: theme.run });
  paintIntervals(context, width, waits, (i) => cpuLane.get(waits.cpu[i]), { step, top: 3 + thick, thick: Math.max(2, step - thick - 5), colour: () => theme.wait, shade: theme.wait });
  if (step < 15) return;
  context.font = "10px " + theme.sans; context.fillStyle = "#fff";
  each(runs, (i) => {
    const left = Math.max(GUTTER, timeX(runs.since[i], width)), right = Math.min(width - EDGE, timeX(runs.since[i] + runs.duration[i], width));
    if (right - left > 44) context.fillText(clipped(context, "task " + tid(runs.task[i]), right - left - 8), left + 4, cpuLane.get(runs.cpu[i]) * step + 2.5 + thick / 2);
  });
}
function paintTasks() {
  const [context, width, , step] = laneFrame($("tasks"), data.lanes.map((task) => "task " + tid(task)));
  const thick = Math.round(step * 0.62);
  paintIntervals(context, width, runs, (i) => laneOf.get(runs.task[i]), { step, top: 2, thick, colour: () => theme.run, shade: theme.run });
  paintIntervals(context, width, waits, (i) => laneOf.get(waits.task[i]), { step, top: 2, thick, colour: () => theme.wait, shade: theme.wait });
  const below = { step, top: 3 + thick, thick: Math.max(2, step - thick - 6) };
  paintIntervals(context, width, holds, (i) => holds.write[i] ? undefined : laneOf.get(holds.task[i]), { ...below, colour: () => theme["hold-read"], shade: theme["hold-read"] });
  paintIntervals(context, width, holds, (i) => holds.write[i] ? laneOf.get(holds.task[i]) : undefined, { ...below, colour: () => theme.hold, shade: theme.hold });
  paintArrows(context, width, step, thick);
  const about = waits.since.length ? `${grouped(waitsInView)} waits in view` + (arrowsDrawn < waitsInView ? `, arrows for the ${arrowsDrawn} longest that tell their holder` : "") : "nobody waited for a lock";
  $("tasks-about").textContent = about;
}
function paintArrows(context, width, step, thick) {
  arrowsDrawn = 0; waitsInView = 0;
  const chosen = [], most = Math.max(24, Math.round(width / 18));
  for (const i of byLength) {
    if (waits.since[i] > view.to || waits.since[i] + waits.duration[i] < view.from) continue;
    waitsInView++;
    if (chosen.length < most && waits.holder[i] && laneOf.has(waits.holder[i] - 1) && laneOf.has(waits.task[i])) chosen.push(i);
  }
  arrowsDrawn = chosen.length;
  const strength = chosen.length > 30 ? 0.5 : 0.8;
  for (const i of chosen.reverse()) if (i !== lit) arrow(context, i, width, step, thick, theme.ink, strength, 1);
  if (lit >= 0) for (const i of chain(lit)) arrow(context, i, width, step, thick, theme.accent, 1, 2);
}
// A wait, the wait that its holder was in at that time, and so on.
function chain(from) {
  const found = [from];
  while (found.length < 16) {
    const last = found[found.length - 1], holder = waits.holder[last] - 1, at = waits.since[last];
    let next = -1;
    if (holder >= 0) for (let i = 0; i < waits.since.length && waits.since[i] <= at; i++)
      if (waits.task[i] === holder && waits.since[i] + waits.duration[i] > at) next = i;
    if (next < 0 || found.includes(next)) break;
    found.push(next);
  }
  return found;
}
function arrow(context, i, width, step, thick, colour, alpha, line) {
  const from = laneOf.get(waits.holder[i] - 1), to = laneOf.get(waits.task[i]);
  if (from === undefined || to === undefined || from === to) return;
  const x = timeX(waits.since[i] + waits.duration[i], width);
  if (x < GUTTER || x > width - EDGE) return;
  const start = from * step + 2 + thick / 2, end = to * step + 2 + (to > from ? 0 : thick), way = Math.sign(end - start), reach = Math.min(22, 6 + Math.abs(end - start) * 0.14);
  const bend = x + reach > width - EDGE ? -reach : reach;
  context.globalAlpha = alpha; context.strokeStyle = context.fillStyle = colour; context.lineWidth = line;
  context.beginPath(); context.moveTo(x, start); context.bezierCurveTo(x + bend, start + way * 4, x + bend, end - way * 9, x, end - way * 4); context.stroke();
  context.beginPath(); context.moveTo(x, end); context.lineTo(x - 2.6 + 2, end - way * 5.5); context.lineTo(x + 3.6, end - way * 4.2); context.fill();
  context.beginPath(); context.arc(x, start, line + 0.6, 0, 7); context.fill();
  context.globalAlpha = 1;
}
function lockWords(i) {
  const name = data.texts[waits.lock[i]] || "a lock", mode = `, to ${waits.write[i] ? "write" : "read"}`;
  if (waits.vma[i]) return `${name} of VMA ${waits.vma[i]}${mode}`;
  return name === "mmap_lock" ? `${name} of mm ${waits.address[i]}${mode}` : `${name} 0x${waits.address[i].toString(16)}`;
}
function waitRows(i) {
  const rows = [["from", tickText(waits.since[i], 1)], ["waited", duration(waits.duration[i]) + (waits.open[i] ? ", not over at the end of the trace" : "")],
    ["for", lockWords(i)],
    ["in", call(waits.call[i])]];
  if (waits.holder[i]) rows.push(["held by", `task ${tid(waits.holder[i] - 1)} in ${call(waits.hcall[i])}`]);
  if (waits.failed[i]) rows.push(["ended", "without the lock"]);
  return rows;
}
function inLane(intervals, time, slack, matches) {
  let best = -1;
  each(intervals, (i) => {
    if (intervals.since[i] - slack <= time && time <= intervals.since[i] + intervals.duration[i] + slack && matches(i)
      && (best < 0 || intervals.duration[i] < intervals.duration[best])) best = i;
  });
  return best;
}
function taskTip(x, y, width) {
  const step = laneHeight(data.lanes.length), task = data.lanes[Math.floor(y / step)], time = xTime(x, width), slack = (view.to - view.from) / width * 2;
  lit = -1;
  if (task === undefined || x < GUTTER || x > width - EDGE) return null;
  const wait = inLane(waits, time, slack, (i) => waits.task[i] === task), hold = inLane(holds, time, slack, (i) => holds.task[i] === task);
  const lower_half = y % step > step * 0.7;
  if (hold >= 0 && (wait < 0 || lower_half)) {
    const made = [];
    each(waits, (i) => { if (waits.holder[i] - 1 === task && waits.since[i] <= holds.since[hold] + holds.duration[hold] && waits.since[i] >= holds.since[hold]) made.push(i); });
    return { title: `task ${tid(task)} holds mmap_lock to ${holds.write[hold] ? "write" : "read"}`, rows: [
      ["from", tickText(holds.since[hold], 1)], ["for", duration(holds.duration[hold])], ["in", call(holds.call[hold])],
      ["meanwhile", made.length ? `${made.length} began to wait, ${duration(made.reduce((sum, i) => sum + waits.duration[i], 0))} in all` : "nobody waited for it"]] };
  }
  if (wait >= 0) {
    lit = wait;
    const links = chain(wait), rows = waitRows(wait);
    for (const i of links.slice(1)) rows.push(["who waited", `${duration(waits.duration[i])} for task ${waits.holder[i] ? tid(waits.holder[i] - 1) : "?"}`]);
    return { title: `task ${tid(task)} waits`, rows };
  }
  const run = inLane(runs, time, slack, (i) => runs.task[i] === task);
  if (run >= 0) return { title: `task ${tid(task)} runs on CPU ${runs.cpu[run]}`, rows: [["from", tickText(runs.since[run], 1)], ["for", duration(runs.duration[run])]] };
  return { title: `task ${tid(task)}`, rows: [["at", tickText(time, 1)], ["", "does not run"]] };
}
function cpuTip(x, y, width) {
  const step = laneHeight(data.cpus.length), cpu = data.cpus[Math.floor(y / step)], time = xTime(x, width), slack = (view.to - view.from) / width * 2;
  if (cpu === undefined || x < GUTTER || x > width - EDGE) return null;
  const rows = [["at", tickText(time, 1)]], run = inLane(runs, time, 0, (i) => runs.cpu[i] === cpu);
  if (run >= 0) rows.push(["ran", `task ${tid(runs.task[run])} for ${duration(runs.duration[run])}`]);
  const wait = inLane(waits, time, slack, (i) => waits.cpu[i] === cpu);
  if (wait >= 0) rows.push(["waits", "task " + tid(waits.task[wait])], ...waitRows(wait).slice(1));
  return { title: `CPU ${cpu}` + (run < 0 ? ", idle" : ""), rows };
}
function paintTaskKey() {
  const key = $("tasks-key");
  key.replaceChildren();
  for (const [name, colour, thin] of [["running", theme.run], ["waits for a lock", theme.wait], ["holds mmap_lock to write", theme.hold, true], ["to read", theme["hold-read"], true]]) {
    const swatch = element("i", thin ? { class: "line" } : {});
    swatch.style.setProperty("--swatch", colour);
    key.append(element("span", {}, swatch, name));
  }
  key.append(element("span", { text: "arrow: from the holder to who waited for it" }));
}
$("cpus-part").hidden = !data.cpus.length;
$("tasks-part").hidden = !data.lanes.length;
painters.push(paintCpus, paintTasks, paintTaskKey);
