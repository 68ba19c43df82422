/* The leaderboard: filter, sort, curves, links to runs and events. */
"use strict";
(function () {
  const { el, fill } = PB, index = PB.index, PAGE = 100;
  const byId = (id) => document.getElementById(id);
  const state = { board: 0, budget: "", find: "", full: false, sort: null, down: false, shown: PAGE, of: "macro" };

  byId("about").textContent = `${index.records.toLocaleString("en")} records, ${index.boards.length} leaderboards; made ${index.made} by version ${index.version}`;
  const chooser = byId("board");
  index.boards.forEach((board, i) => chooser.append(el("option", { value: i }, board.title)));
  const requested = index.boards.findIndex((board) => "#" + board.task === location.hash);
  if (requested >= 0) { state.board = requested; chooser.value = requested; }

  function board() { return index.boards[state.board]; }

  function columns() {
    const b = board();
    return b.heads.map((head, i) => i).filter((i) => (state.full || b.heads[i].brief) &&
      !(b.heads[i].key === "difference_to_best" && b.rows.every((row) => row.cells[i][0] === "-")));
  }

  function value(cell) { return cell.length > 1 && cell[1] !== null ? cell[1] : cell[0]; }

  function compare(a, b) {
    const x = value(a), y = value(b), nx = typeof x === "number", ny = typeof y === "number";
    if (nx && ny) { return x - y; }
    if (nx !== ny) { return nx ? -1 : 1; }
    return String(x).localeCompare(String(y));
  }

  function rows() {
    const b = board(), labels = b.heads.findIndex((head) => head.key === "labels");
    const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
    let matches = b.rows.filter((row) => (!state.budget || row.cells[labels][0] === state.budget) &&
      words.every((word) => row.cells.some((cell) => cell[0].toLowerCase().includes(word))));
    if (state.sort !== null) {
      const missing = (row) => (row.cells[state.sort][0] === "-" ? 1 : 0);
      matches = [...matches].sort((p, q) => missing(p) - missing(q) ||
        (state.down ? -1 : 1) * compare(p.cells[state.sort], q.cells[state.sort]));
    }
    return matches;
  }

  function head(i) {
    const h = board().heads[i], isSorted = state.sort === i;
    const sort = isSorted ? (state.down ? "descending" : "ascending") : "none";
    const arrow = isSorted ? (state.down ? " ▼" : " ▲") : "";
    const button = el("button", { type: "button", on: { click: () => {
      if (isSorted && state.down) { state.down = false; } else if (isSorted) { state.sort = null; } else { state.sort = i; state.down = h.number; }
      if (isSorted && state.sort === i && !state.down) { state.down = false; }
      table();
      byId("table").querySelectorAll("th button")[columns().indexOf(i)].focus();
    } } }, h.title + arrow);
    return el("th", { scope: "col", class: h.number ? "n" : null, "aria-sort": sort }, button);
  }

  function links(row, text) {
    if (row.runs.length === 1) { return el("a", { href: `run.html#${row.runs[0]}` }, text); }
    const details = el("details", {}, el("summary", {}, text));
    details.addEventListener("toggle", () => {
      if (details.open && details.children.length === 1) {
        row.runs.forEach((run) => details.append(el("a", { href: `run.html#${run}` }, run)));
      }
    });
    return details;
  }

  function table() {
    const b = board(), shown = columns(), matches = rows();
    const labels = b.heads.findIndex((h) => h.key === "labels");
    const body = el("tbody");
    let before = null;
    matches.slice(0, state.shown).forEach((row) => {
      const line = el("tr", { class: state.sort === null && before !== null && before !== row.cells[labels][0] ? "group" : null });
      before = row.cells[labels][0];
      shown.forEach((i, position) => {
        const cell = row.cells[i], side = b.heads[i].number ? "n" : "";
        const strong = cell[2] ? " strong" : "";
        line.append(el("td", { class: side + strong || null }, position === 0 ? links(row, cell[0]) : cell[0]));
      });
      body.append(line);
    });
    const more = matches.length > state.shown
      ? el("button", { type: "button", on: { click: () => { state.shown += 10 * PAGE; table(); } } }, `Show more of ${matches.length.toLocaleString("en")} rows`)
      : null;
    fill(byId("table"), el("table", {}, el("caption", { class: "skip" }, b.title), el("thead", {}, el("tr", {}, ...shown.map(head))), body));
    if (more) { byId("table").append(more); }
    byId("count").textContent = `${Math.min(matches.length, state.shown).toLocaleString("en")} of ${b.rows.length.toLocaleString("en")} rows`;
  }

  function errors(points, i) {
    return points.map((p) => (p[i] === null ? 0 : Math.abs(p[1] - p[i])));
  }

  function curves() {
    const b = board(), drawn = b.curves[state.of] || [];
    const axis = { title: { text: "labelled events" }, type: "log", dtick: 1 };
    byId("publishedBox").hidden = b.published.length === 0;  // before drawing: it changes the other's width
    const names = PB.names(byId("measured"), drawn.map((curve) => curve.name));
    const traces = drawn.map((curve, i) => ({
      name: names[i], x: curve.points.map((p) => p[0]), y: curve.points.map((p) => p[1]), mode: "lines+markers",
      line: { color: curve.colour, dash: curve.dash }, marker: { symbol: curve.symbol, size: 8 },
      error_y: { type: "data", symmetric: false, array: errors(curve.points, 3), arrayminus: errors(curve.points, 2), thickness: 1.2, width: 3 },
      text: curve.points.map((p) => `${p[4]} run${p[4] > 1 ? "s" : ""}`),
      hovertemplate: "%{x:,} labels: %{y:.3f}, %{text}<extra>%{fullData.name}</extra>",
    }));
    const name = state.of === "macro" ? b.metric : `F1 ${state.of}`;
    byId("leftOut").textContent = b.curvesLeftOut ? `The best ${drawn.length} curves are drawn; ${b.curvesLeftOut.toLocaleString("en")} others are in the table.` : "";
    const legend = (id, lines) => PB.legend(byId(id), lines.map((line) => line.name));
    PB.plot(byId("measured"), traces, { xaxis: axis, yaxis: { title: { text: name } }, showlegend: true, ...legend("measured", drawn) });
    if (b.published.length) {
      const publishedNames = PB.names(byId("published"), b.published.map((p) => p.name));
      const dashed = b.published.map((p, i) => ({
        name: publishedNames[i], x: p.points.map((q) => q[0]), y: p.points.map((q) => q[1]), mode: "lines+markers",
        line: { color: p.colour, dash: p.dash }, marker: { symbol: `${p.symbol}-open`, size: 9 },
        hovertemplate: `%{x:,} labels: %{y:.3f}<br>${PB.text(p.source)}<extra>%{fullData.name}</extra>`,
      }));
      PB.plot(byId("published"), dashed, { xaxis: axis, yaxis: { title: { text: b.metric } }, showlegend: true, ...legend("published", b.published) });
    }
  }

  function needed() {
    const b = board();
    if (!b.needed) { fill(byId("needed")); return; }
    const lines = b.needed.rows.map(([name, text, budgets]) => el("tr", {}, el("td", {}, name), el("td", { class: "n" }, text),
      el("td", { class: "n" }, budgets.map((n) => n.toLocaleString("en")).join(", "))));
    fill(byId("needed"), el("h2", {}, `Labelled events needed for ${b.metric} = ${b.needed.score}`),
      el("div", { class: "scroll" }, el("table", { style: "width:auto" }, el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "model"),
        el("th", { scope: "col", class: "n" }, "labels [95%]"), el("th", { scope: "col", class: "n" }, "measured at"))), el("tbody", {}, ...lines))));
  }

  function choose() {
    const b = board(), labels = b.heads.findIndex((h) => h.key === "labels");
    const budgets = [...new Set(b.rows.map((row) => row.cells[labels][0]))];
    fill(byId("budget"), el("option", { value: "" }, "all budgets"), ...budgets.map((x) => el("option", { value: x }, x)));
    Object.assign(state, { budget: "", sort: null, down: false, shown: PAGE, of: "macro" });
    const scores = Object.keys(b.curves);
    fill(byId("of"), ...scores.map((x) => el("option", { value: x }, x === "macro" ? b.metric : x)));
    byId("title").textContent = b.title;
    fill(byId("notes"), ...b.notes.map((note) => el("li", {}, note)));
    byId("eventsBox").hidden = b.events.length === 0;
    fill(byId("events"), ...b.events.map(([key, id]) => el("li", {}, el("a", { href: `event.html#${key}` }, id))));
    byId("efficiency").hidden = Object.values(b.curves).every((c) => c.length === 0);
    table(); needed();
    if (!byId("efficiency").hidden) { curves(); }
  }

  const problems = [...index.problems, ...index.failed.map(([id, error]) => `${id} failed: ${error}`)];
  byId("problemsBox").hidden = problems.length === 0;
  fill(byId("problems"), ...problems.slice(0, 500).map((text) => el("li", {}, text)));
  if (!index.boards.length) { byId("title").textContent = "There are no finished runs yet."; return; }
  chooser.addEventListener("change", () => { state.board = Number(chooser.value); choose(); });
  byId("budget").addEventListener("change", (event) => { state.budget = event.target.value; state.shown = PAGE; table(); });
  byId("find").addEventListener("input", (event) => { state.find = event.target.value; state.shown = PAGE; table(); });
  byId("full").addEventListener("change", (event) => { state.full = event.target.checked; table(); });
  byId("of").addEventListener("change", (event) => { state.of = event.target.value; curves(); });
  PB.redraw.push(() => { if (!byId("efficiency").hidden) { curves(); } });
  choose();
})();
