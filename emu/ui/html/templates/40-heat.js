// The heat map: VMAs as bands, faults as marks, time by address.
const COLOURINGS = [["served", "Kind"], ["path", "Path"], ["reason", "Reason"], ["task", "Task"], ["density", "Density"], ["duration", "Time to serve"]].filter(([name]) => told(name));
const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
function rampColour(ramp, part) {
  const at = Math.min(0.9999, Math.max(0, part)) * (ramp.length - 1), low = Math.floor(at), mix = at - low;
  const a = rgb(ramp[low]), b = rgb(ramp[low + 1]);
  return a.map((v, i) => v + (b[i] - v) * mix);
}
const buffer = document.createElement("canvas");
const placeY = (at, high) => high - (at - view.low) / (view.high - view.low) * high;
let drawnMarks = 0, heatTop = 0;

function paintHeat() {
  const canvas = $("heat"), [context, width, high] = prepare(canvas), axis = axes[view.process];
  context.fillStyle = theme.void;
  context.fillRect(GUTTER, 0, width - GUTTER - EDGE, high);
  if (!axis || !axis.start.length) return;
  context.save();
  context.beginPath(); context.rect(GUTTER, 0, width - GUTTER - EDGE, high); context.clip();
  const labels = paintBands(context, width, high);
  context.setLineDash([2, 3]); context.strokeStyle = theme.faint; context.lineWidth = 1;
  for (let i = 1; i < axis.start.length; i++) {
    if (axis.start[i] === axis.start[i - 1] + axis.pages[i - 1]) continue;
    const y = Math.round(placeY((axis.high[i - 1] + axis.low[i]) / 2, high)) + 0.5;
    if (y > 0 && y < high) { context.beginPath(); context.moveTo(GUTTER, y); context.lineTo(width - EDGE, y); context.stroke(); }
  }
  context.setLineDash([]);
  paintMarks(context, width, high);
  context.restore();
  paintLabels(context, labels, high);
}
function paintBands(context, width, high) {
  const best = new Map();
  for (let i = 0; i < bands.start.length; i++) {
    if (bands.process[i] !== view.process) continue;
    const until = bands.until[i], since = bands.since[i];
    if (until < view.from || since > view.to) continue;
    const top = placeY(band.high[i], high), bottom = placeY(band.low[i], high);
    if (bottom < 0 || top > high) continue;
    const left = timeX(Math.max(since, view.from), width), right = timeX(Math.min(until, view.to), width);
    context.fillStyle = bands.flags[i] & 4 ? theme["band-exec"] : band.file[i] ? theme["band-file"] : theme.band;
    context.fillRect(left, top, Math.max(0.5, right - left), Math.max(1, bottom - top - (bottom - top > 3 ? 1 : 0)));
    if (right - left > 4 && bottom - top > 4) {
      context.fillStyle = theme["band-edge"];
      if (since > view.from) context.fillRect(left, top, 1, bottom - top - 1);
      if (until < view.to && until < span) context.fillRect(right - 1, top, 1, bottom - top - 1);
      context.fillRect(left, bottom - 1, right - left, 0.5);
    }
    const key = bands.start[i] + ":" + bands.end[i] + ":" + bands.name[i], size = (bottom - top) * (right - left);
    const seen = best.get(key);
    if (!seen || seen.size < size) best.set(key, { size: size + (seen ? seen.size : 0), top: Math.max(0, top), bottom: Math.min(high, bottom), index: i });
  }
  return [...best.values()].sort((a, b) => (b.bottom - b.top) - (a.bottom - a.top) || b.size - a.size);
}
function paintLabels(context, labels, high) {
  const taken = [];
  context.textAlign = "right";
  for (const { top, bottom, index } of labels) {
    const two = bottom - top > 30, need = two ? 26 : 12, y = Math.min(high - need / 2, Math.max(need / 2, (top + bottom) / 2));
    if (taken.some(([a, b]) => y - need / 2 < b && y + need / 2 > a)) continue;
    taken.push([y - need / 2, y + need / 2]);
    if (taken.length > 120) break;
    context.fillStyle = theme.ink; context.font = "11px " + theme.sans;
    const name = data.texts[bands.name[index]] || "anonymous";
    context.fillText(clipped(context, name.startsWith("[") ? name : name.split("/").pop(), GUTTER - 24), GUTTER - 8, two ? y - 6 : y);
    if (two) {
      context.fillStyle = theme.faint; context.font = "10px " + theme.mono;
      context.fillText(clipped(context, hexPage(bands.start[index]), GUTTER - 24), GUTTER - 8, y + 8);
    }
  }
  context.textAlign = "left";
}
function paintMarks(context, width, high) {
  const plot = width - GUTTER - EDGE, many = end - first;
  const grain = many > 60000 ? 2 : many > 3000 ? 3 : 4, across = Math.ceil(plot / grain), down = Math.ceil(high / grain);
  const number = new Float32Array(across * down), votes = new Float32Array(across * down), candidate = new Int32Array(across * down);
  const { time, combo, count: faults, duration: spent } = cells;
  const categorical = !["density", "duration"].includes(view.colour), category = categorical ? combos[view.colour] : null;
  const scaleX = plot / (view.to - view.from) / grain, scaleY = high / (view.high - view.low) / grain;
  const least = view.low, most = view.high;
  drawnMarks = 0;
  for (let i = first; i < end; i++) {
    const kind = combo[i];
    if (!shown[kind]) continue;
    const at = place[i];
    if (at >= most || at + height[i] <= least) continue;
    let x = (time[i] - view.from) * scaleX | 0;
    if (x < 0) x = 0; else if (x >= across) x = across - 1;
    let bottom = down - 1 - Math.floor((at - least) * scaleY), top = bottom;
    if (height[i] * scaleY > 1) { top = down - 1 - Math.floor((at + height[i] - least) * scaleY - 1e-6); if (top < 0) top = 0; }
    if (bottom >= down) bottom = down - 1;
    if (bottom - top > 2) top++; // a line between pages that are tall enough to be told apart
    if (top > bottom) top = bottom;
    drawnMarks += faults[i];
    for (let y = top; y <= bottom; y++) {
      const cell = y * across + x;
      number[cell] += faults[i];
      if (categorical) {
        if (votes[cell] === 0) { candidate[cell] = category[kind]; votes[cell] = faults[i]; }
        else if (candidate[cell] === category[kind]) votes[cell] += faults[i];
        else if ((votes[cell] -= faults[i]) < 0) { candidate[cell] = category[kind]; votes[cell] = -votes[cell]; }
      } else votes[cell] += spent[i];
    }
  }
  heatTop = 0;
  const measure = view.colour === "duration" ? (cell) => votes[cell] / number[cell] : (cell) => number[cell];
  for (let cell = 0; cell < number.length; cell++) if (number[cell] && measure(cell) > heatTop) heatTop = measure(cell);
  const image = context.createImageData(across, down), pixels = image.data, scale = Math.log(heatTop + 1) || 1, known = new Map();
  for (let cell = 0; cell < number.length; cell++) {
    if (!number[cell]) continue;
    let colour;
    if (categorical) {
      colour = known.get(candidate[cell]);
      if (!colour) known.set(candidate[cell], colour = rgb(colourOf(view.colour, candidate[cell])));
      pixels[cell * 4 + 3] = 190 + 65 * Math.log(number[cell] + 1) / scale;
    } else {
      const part = Math.round(40 * Math.log(measure(cell) + 1) / scale);
      colour = known.get(part);
      if (!colour) known.set(part, colour = rampColour(theme.ramp, part / 40 * 0.85 + 0.15));
      pixels[cell * 4 + 3] = 255;
    }
    pixels[cell * 4] = colour[0]; pixels[cell * 4 + 1] = colour[1]; pixels[cell * 4 + 2] = colour[2];
  }
  buffer.width = across; buffer.height = down;
  buffer.getContext("2d").putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(buffer, GUTTER, high - down * grain, across * grain, down * grain);
}

// Places of the bands on their axes, and whether they map a file.
const band = { low: new Float64Array(bands.start.length), high: new Float64Array(bands.start.length), file: new Uint8Array(bands.start.length) };
for (let i = 0; i < bands.start.length; i++) {
  const axis = axes[bands.process[i]];
  band.low[i] = placeOf(axis, bands.start[i]);
  band.high[i] = placeOf(axis, bands.end[i] - 1);
  const last = bands.end[i] - 1, segment = Math.max(0, lower(axis.start, last + 1) - 1);
  band.high[i] += (axis.high[segment] - axis.low[segment]) / axis.pages[segment];
  const name = data.texts[bands.name[i]];
  band.file[i] = name && !name.startsWith("[") ? 1 : 0;
}

function faultNear(x, y, width, high) {
  const reach = 7, from = xTime(x - reach, width), to = xTime(x + reach, width);
  let best = -1, nearest = reach * reach;
  const { time, combo } = cells;
  for (let i = lower(time, from); i < time.length && time[i] <= to; i++) {
    if (!shown[combo[i]]) continue;
    const dx = timeX(time[i], width) - x, top = placeY(place[i] + height[i], high), bottom = placeY(place[i], high);
    const dy = y < top ? top - y : y > bottom ? y - bottom : 0, distance = dx * dx + dy * dy;
    if (distance <= nearest) { nearest = distance; best = i; }
  }
  return best;
}
function bandAt(time, at) {
  for (let i = bands.start.length - 1; i >= 0; i--)
    if (bands.process[i] === view.process && band.low[i] <= at && at < band.high[i] && bands.since[i] <= time && time < bands.until[i]) return i;
  return -1;
}
function heatTip(x, y, width, high) {
  if (x < GUTTER || x > width - EDGE) return null;
  const axis = axes[view.process];
  if (!axis || !axis.start.length) return null;
  const near = faultNear(x, y, width, high), rows = [];
  let title, at = view.low + (high - y) / high * (view.high - view.low), time = xTime(x, width);
  if (near >= 0) {
    const k = cells.combo[near], number = cells.count[near], word = (dimension) => data.words[dimension][combos[dimension][k]];
    at = place[near]; time = cells.time[near];
    title = `${word("served")[0]}: ${word("served")[2]}`;
    if (number > 1) title = `${grouped(number)} faults, ${title}`;
    rows.push(["time", tickText(time, 1)], ["page", hexPage(pageAt(axis, at + height[near] / 2)), "mono"]);
    if (told("access")) rows.push(["access", ["read", "write", "execute"][combos.access[k]] + (combos.mode[k] ? " by the kernel" : "")]);
    rows.push(["path", `${word("path")[0]}, ${word("path")[2]}`]);
    if (combos.reason[k]) rows.push(["because", `${word("reason")[0]}: ${word("reason")[2]}`]);
    rows.push(["served in", duration(cells.duration[near] / number) + (number > 1 ? " on average" : "")]);
    if (cells.wait[near]) rows.push(["waited", duration(cells.wait[near])]);
    if (told("task")) rows.push(["task", tid(combos.task[k]) + (told("cpu") ? ` on CPU ${combos.cpu[k]}` : "")]);
    if (told("symbol")) rows.push(["in", data.symbols[combos.symbol[k]], "mono"]);
  }
  const under = bandAt(time, at), page = pageAt(axis, at);
  if (under >= 0) {
    const name = data.texts[bands.name[under]] || "anonymous";
    if (near < 0) title = name; else rows.push(["VMA", name]);
    rows.push([near < 0 ? "range" : "", `${hexPage(bands.start[under])} – ${hexPage(bands.end[under])}`, "mono"]);
    rows.push(["", `${permissions(bands.flags[under])}, ${memory(bands.end[under] - bands.start[under])}, VMA ${bands.vma[under]}`]);
    if (near < 0) rows.push(["lived", `${tickText(bands.since[under], 1)} – ${bands.until[under] > span ? "end" : tickText(bands.until[under], 1)}`]);
  } else if (near < 0) { title = page < 0 ? "never mapped" : "not mapped at this time"; if (page >= 0) rows.push(["page", hexPage(page), "mono"]); }
  if (near < 0) rows.unshift(["time", tickText(time, (view.to - view.from) / 1000)]);
  return { title, rows };
}

function paintLegend() {
  keepFocus($("legend"), heatLegend);
  const all = tally("served").reduce((sum, [, n]) => sum + n, 0);
  $("heat-about").textContent = `${grouped(drawnMarks)} faults drawn` + (all !== drawnMarks ? ` of ${grouped(all)} in this time` : "");
}
function heatLegend(legend) {
  if (["density", "duration"].includes(view.colour)) {
    const ramp = element("span", { class: "ramp" });
    ramp.style.background = `linear-gradient(90deg, ${theme.ramp.slice(1).join(", ")})`;
    const isDensity = view.colour === "density";
    legend.append(element("span", { text: isDensity ? "1 fault" : "fast" }), ramp, element("span", { text: isDensity ? `${grouped(heatTop)} in one mark` : `${duration(heatTop)} on average` }));
  } else fillLegend(legend, view.colour, 24);
}
// Legends are made anew each time; the button that has the keyboard keeps it.
function keepFocus(legend, fill) {
  const had = legend.contains(document.activeElement) ? document.activeElement.dataset.value : null;
  legend.replaceChildren();
  const found = fill(legend);
  if (had !== null) for (const button of legend.querySelectorAll("button")) if (button.dataset.value === had) button.focus({ preventScroll: true });
  return found;
}
function fillLegend(legend, dimension, most, skip = -1) {
  const found = tally(dimension).filter(([value]) => value !== skip);
  for (const [value, number] of found.slice(0, most)) {
    const swatch = element("i");
    swatch.style.setProperty("--swatch", colourOf(dimension, value));
    const hidden = view.hidden[dimension] && view.hidden[dimension].has(value);
    legend.append(element("button", { type: "button", "aria-pressed": hidden ? "false" : "true", "data-value": nameOf(dimension, value),
      title: data.words[dimension] ? data.words[dimension][value][2] : "", onclick: () => { toggle(dimension, value); } },
      swatch, nameOf(dimension, value) + " ", element("b", { text: grouped(number) })));
  }
  if (found.length > most) legend.append(element("span", { text: `${found.length - most} more` }));
  return found;
}
painters.push(paintHeat, paintLegend);
