// The tables: sorted by a click on a column, searched by words and by column:word or column>number, linked to the pictures.
const SHORT = 8;
const show = { count: grouped, share: (v) => (v / 100).toFixed(1) + " %", time: duration, address: (v) => "0x" + v, text: String };
const numeric = (type) => type === "count" || type === "share" || type === "time";
const cards = data.tables.map((table) => {
  const card = { table, order: table.rows.map((_, i) => i), column: 0, down: true, long: false, picked: -1 };
  card.texts = table.rows.map((row) => row.map((v, c) => v === "" ? "" : show[table.columns[c][1]](v)));
  card.plain = card.texts.map((row) => row.join(" ").toLowerCase().replaceAll("\u202f", "").replaceAll("\u00a0", " "));
  return card;
});
let picked = null;

// "12", "1.5ms", "10us", "40%" as the numbers that the tables hold.
function quantity(text, type) {
  const match = /^([\d.,]+)\s*(ns|us|µs|ms|s|%|k|m)?$/i.exec(text);
  if (!match) return NaN;
  const unit = { ns: 1, us: 1e3, "µs": 1e3, ms: 1e6, s: 1e9, k: 1e3, m: 1e6, "%": 1 }[(match[2] || "").toLowerCase()] || 1;
  return parseFloat(match[1].replaceAll(",", "")) * unit * (type === "share" ? 100 : 1);
}
function matcher(query) {
  const parts = query.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const match = /^([^:<>=]+)([:<>=])(.+)$/.exec(word);
    if (!match) return (card, row) => card.plain[row].includes(word);
    const [, name, operator, value] = match;
    return (card, row) => {
      const at = card.table.columns.map((_, i) => i).filter((i) => card.table.columns[i][0].toLowerCase().startsWith(name));
      if (!at.length) return card.plain[row].includes(word);
      return at.some((column) => {
        const cell = card.table.rows[row][column], type = card.table.columns[column][1];
        if (operator === ":") return card.texts[row][column].toLowerCase().includes(value);
        if (!numeric(type)) return operator === "=" && String(cell).toLowerCase() === value;
        const number = quantity(value, type);
        return cell !== "" && (operator === ">" ? cell > number : operator === "<" ? cell < number : cell === number);
      });
    };
  });
  return (card, row) => parts.every((part) => part(card, row));
}
// Rows that pick by what faults are not told apart by pick nothing.
const pickable = (table) => table.select.length && Object.keys(table.select[0]).some((name) => name === "from" || (name !== "pid" && told(name === "tid" ? "task" : name)));
function fillCard(card, matches, searching) {
  const { table } = card, type = table.columns[card.column][1];
  const order = card.order.filter((row) => matches(card, row));
  order.sort((a, b) => {
    const x = table.rows[a][card.column], y = table.rows[b][card.column];
    const by = type === "address" ? String(x).length - String(y).length || (x < y ? -1 : x > y ? 1 : 0)
      : numeric(type) ? (x === "" ? -1 : x) - (y === "" ? -1 : y) : x < y ? -1 : x > y ? 1 : 0;
    return (card.down ? -by : by) || a - b;
  });
  card.matched = order.length;
  card.head.forEach((th, i) => i === card.column ? th.setAttribute("aria-sort", card.down ? "descending" : "ascending") : th.removeAttribute("aria-sort"));
  const rows = card.long ? order : order.slice(0, SHORT);
  const had = card.body.contains(document.activeElement) ? document.activeElement.dataset.row : null;
  const largest = Math.max(1, ...table.rows.map((row) => Number(row[0]) || 0));
  card.body.replaceChildren(...rows.map((row) => {
    const tr = element("tr");
    table.columns.forEach(([, kind], column) => {
      const cell = element("td", { class: numeric(kind) ? "number" : kind, text: card.texts[row][column] });
      if (column === 0) { cell.classList.add("unit"); cell.style.setProperty("--part", `${100 * table.rows[row][0] / largest}%`); }
      tr.append(cell);
    });
    if (pickable(table)) {
      tr.className = "pick"; tr.tabIndex = 0; tr.dataset.row = row;
      if (picked && picked[0] === table.name && picked[1] === row) tr.classList.add("picked");
      tr.addEventListener("click", () => pick(card, row));
      tr.addEventListener("keydown", (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(card, row); } });
    }
    if (had === String(row)) queueMicrotask(() => tr.focus({ preventScroll: true }));
    return tr;
  }));
  card.note.textContent = searching ? `${grouped(order.length)} of ${grouped(table.rows.length)} rows` : table.rows.length > SHORT ? `${grouped(table.rows.length)} rows` : "";
  card.button.hidden = order.length <= SHORT;
  card.button.textContent = card.long ? "Show fewer" : `Show all ${grouped(order.length)}`;
  card.footer.hidden = card.button.hidden && card.footer.childNodes.length === 1;
  card.node.hidden = searching && !order.length;
}
function fillTables() {
  const query = $("search").value.trim(), matches = matcher(query);
  for (const card of cards) fillCard(card, matches, query !== "");
  const rows = cards.reduce((sum, card) => sum + card.matched, 0);
  $("found").textContent = query ? `${grouped(rows)} ${rows === 1 ? "row" : "rows"}` : "";
}
// A row shows its faults alone, or its time; picked again it lets go.
function pick(card, row) {
  const select = card.table.select[row], same = picked && picked[0] === card.table.name && picked[1] === row;
  picked = same ? null : [card.table.name, row];
  view.only = {};
  if ("from" in select) {
    const margin = Math.max(1000, (select.to - select.from) * 1.5);
    if (same) zoomAll(); else { setTime(select.from - margin, select.to + margin); $("tasks-part").scrollIntoView({ block: "center" }); }
  } else if (!same) {
    for (const [name, value] of Object.entries(select)) {
      if (name === "pid") { const at = data.processes.findIndex((process) => process.pid === value); if (at >= 0) chooseProcess(at); }
      else if (name === "tid") { const at = data.tids.indexOf(value); view.only.task = at; }
      else if (told(name)) view.only[name] = value;
    }
    const box = $("heat").getBoundingClientRect();
    if (box.bottom < 80 || box.top > innerHeight - 80) $("score").scrollIntoView({ block: "start" });
  }
  chips(); applyFilters(); fillTables();
}
function chips() {
  $("chips").replaceChildren(...Object.entries(view.only).map(([name, value]) => element("button", {
    type: "button", title: "Show all again", text: `${DIMENSIONS[name]}: ${nameOf(name, value)} ×`,
    onclick: () => { delete view.only[name]; picked = null; chips(); applyFilters(); fillTables(); } })));
}
for (const card of cards) {
  const { table } = card;
  card.head = table.columns.map(([title, type], column) => element("th", { scope: "col", class: numeric(type) ? "number" : "" },
    element("button", { type: "button", text: title, onclick: () => {
      if (card.column === column) card.down = !card.down; else { card.column = column; card.down = numeric(type); }
      fillTables();
    } })));
  card.body = element("tbody");
  card.note = element("span");
  card.button = element("button", { type: "button", class: "more", onclick: () => { card.long = !card.long; fillTables(); } });
  const footer = card.footer = element("footer", {}, card.button);
  if (table.more[0]) footer.append(`${grouped(table.more[0])} more rows are not in this page; they add up to ${show[table.columns[0][1]](table.more[1])}.`);
  if (table.about) footer.append(table.about);
  card.node = element("article", { class: "card" + (table.columns.length > 7 ? " wide" : ""), id: "table-" + table.name },
    element("header", {}, element("h3", { text: table.title }), card.note),
    element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {}, ...card.head)), card.body)), footer);
  $("grid").append(card.node);
}
$("search").addEventListener("input", fillTables);
