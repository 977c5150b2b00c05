// The whole trace with the window in it, the time axis, and the fallback reasons over time.
const BINS = 600;
function paintAxis() {
  const [context, width, high] = prepare($("axis"));
  const [found, step] = ticks(view.from, view.to, width - GUTTER - EDGE);
  context.font = "11px " + theme.sans; context.textAlign = "center";
  for (const at of found) {
    const x = timeX(at, width);
    context.fillStyle = theme.line; context.fillRect(Math.round(x), high - 5, 1, 5);
    context.fillStyle = theme.soft;
    const text = tickText(at, step), half = context.measureText(text).width / 2;
    if (x - half > GUTTER - 8 && x + half < width) context.fillText(text, x, 10);
  }
}
const overviewX = (time, width) => GUTTER + time / span * (width - GUTTER - EDGE);
let overview = null, overviewFor = "";
function paintOverview() {
  const [context, width, high] = prepare($("overview"));
  const key = JSON.stringify([view.process, view.only, Object.entries(view.hidden).map(([name, set]) => [name, ...set])]);
  if (key !== overviewFor) {
    overviewFor = key; overview = new Float64Array(BINS);
    for (let i = 0; i < cells.time.length; i++) if (shown[cells.combo[i]]) overview[Math.min(BINS - 1, cells.time[i] / span * BINS | 0)] += cells.count[i];
  }
  const top = Math.max(1, ...overview), plot = width - GUTTER - EDGE, base = high - 4;
  context.fillStyle = theme.soft; context.textAlign = "right"; context.font = "11px " + theme.sans;
  context.fillText(clipped(context, GUTTER < 120 ? "faults" : "faults, whole trace", GUTTER - 12), GUTTER - 8, high / 2);
  context.beginPath(); context.moveTo(GUTTER, base);
  for (let bin = 0; bin < BINS; bin++) { const y = base - Math.sqrt(overview[bin] / top) * (high - 12); context.lineTo(GUTTER + bin / BINS * plot, y); context.lineTo(GUTTER + (bin + 1) / BINS * plot, y); }
  context.lineTo(width - EDGE, base);
  context.fillStyle = theme.run; context.fill();
  const left = overviewX(view.from, width), right = Math.max(left + 2, overviewX(view.to, width));
  if (view.from > 0 || view.to < span) {
    context.fillStyle = theme.sheet; context.globalAlpha = 0.7;
    context.fillRect(GUTTER, 0, left - GUTTER, high); context.fillRect(right, 0, width - EDGE - right, high);
    context.globalAlpha = 1; context.fillStyle = theme.accent;
    context.fillRect(left - 1, 2, 2, high - 4); context.fillRect(right - 1, 2, 2, high - 4);
  }
}
function paintReasons() {
  const canvas = $("reasons"), [context, width, high] = prepare(canvas), plot = width - GUTTER - EDGE, wide = 4, bars = Math.max(1, Math.floor(plot / wide));
  const kinds = data.words.reason.length, sums = new Float64Array(bars * kinds), scale = bars / (view.to - view.from);
  for (let i = first; i < end; i++) {
    const k = cells.combo[i];
    if (!shown[k] || !combos.reason[k]) continue;
    const bar = Math.max(0, Math.min(bars - 1, (cells.time[i] - view.from) * scale | 0));
    sums[bar * kinds + combos.reason[k]] += cells.count[i];
  }
  let top = 0;
  for (let bar = 0; bar < bars; bar++) { let sum = 0; for (let k = 0; k < kinds; k++) sum += sums[bar * kinds + k]; top = Math.max(top, sum); }
  const base = high - 6, room = high - 18, step = plot / bars;
  context.fillStyle = theme.line; context.fillRect(GUTTER, base, plot, 1);
  context.textAlign = "right"; context.fillStyle = theme.soft;
  context.fillText(top ? `${grouped(top)} ${top === 1 ? "fault" : "faults"} in ${duration((view.to - view.from) / bars)}` : "", GUTTER - 8, base - room + 4);
  if (!top) {
    context.textAlign = "left";
    context.fillText("Every fault that is shown took the fastest path of its scheme.", GUTTER, high / 2);
  } else { context.fillStyle = theme.line; context.fillRect(GUTTER, base - room, plot, 0.5); }
  for (let bar = 0; bar < bars; bar++) {
    let y = base;
    for (let k = 1; k < kinds; k++) {
      const number = sums[bar * kinds + k];
      if (!number) continue;
      const tall = number / top * room;
      context.fillStyle = data.words.reason[k][1];
      context.fillRect(GUTTER + bar * step, y - tall, Math.max(1, step - 0.6), Math.max(0.8, tall));
      y -= tall;
    }
  }
  const found = keepFocus($("reasons-legend"), (legend) => fillLegend(legend, "reason", 16, 0));
  const total = tally("reason").reduce((sum, [, n]) => sum + n, 0), slow = found.reduce((sum, [, n]) => sum + n, 0);
  $("reasons-about").textContent = total ? `${percent(slow, total)} of the faults in this time` : "";
}
function reasonsTip(x, y, width) {
  if (x < GUTTER || x > width - EDGE) return null;
  const wide = (view.to - view.from) / Math.max(1, Math.floor((width - GUTTER - EDGE) / 4)), from = view.from + Math.floor((xTime(x, width) - view.from) / wide) * wide;
  const sums = new Map();
  let total = 0;
  for (let i = lower(cells.time, from); i < cells.time.length && cells.time[i] < from + wide; i++) {
    const k = cells.combo[i];
    if (!shown[k]) continue;
    total += cells.count[i];
    if (combos.reason[k]) sums.set(combos.reason[k], (sums.get(combos.reason[k]) || 0) + cells.count[i]);
  }
  const rows = [...sums].sort((a, b) => b[1] - a[1]).map(([reason, number]) => [grouped(number), `${data.words.reason[reason][0]}: ${data.words.reason[reason][2]}`]);
  return { title: `${tickText(from, wide / 10)}, ${duration(wide)}: ${grouped(total)} faults`, rows: rows.length ? rows : [["", "all on the fastest path"]] };
}
painters.push(paintOverview, paintAxis, paintReasons);
