/* One run: scores, confusion, calibration, training curves, worst events, settings. */
"use strict";
(function () {
  const { el, fill } = PB, main = document.getElementById("main");

  function section(title, ...children) { return el("section", {}, el("h2", {}, title), ...children); }

  function table(heads, lines) {
    const row = (tag, cells) => el("tr", {}, ...cells.map((cell, i) => el(tag, { class: i ? "n" : null, scope: tag === "th" ? "col" : null }, cell)));
    return el("div", { class: "scroll" }, el("table", {}, el("thead", {}, row("th", heads)), el("tbody", {}, ...lines.map((line) => row("td", line)))));
  }

  function scores(run) {
    return run.scores.map((scores) => section(`Scores: ${scores.section}`, scores.rows.length === 1
      ? table(["score", "value [95%]"], scores.names.map((name, i) => [name, PB.interval(scores.rows[0][i + 1])]))
      : table(["", ...scores.names], scores.rows.map((row) => [row[0], ...row.slice(1).map(PB.interval)]))));
  }

  function confusion(run) {
    if (!run.confusion) { return []; }
    const lines = run.confusion.map((row, i) => {
      const total = row.reduce((a, b) => a + b, 0);
      return el("tr", {}, el("th", { scope: "row" }, run.classes[i]), ...row.map((n) => {
        const share = total ? n / total : 0;
        const cell = el("td", { class: "cell" }, `${(100 * share).toFixed(1)}%`);
        cell.style.background = `color-mix(in srgb, var(--mark) ${Math.round(70 * share)}%, transparent)`;
        cell.title = `${n.toLocaleString("en")} of ${total.toLocaleString("en")}`;
        return cell;
      }), el("td", { class: "n" }, total.toLocaleString("en")));
    });
    return [section("Confusion: share of each true class (rows) predicted as each class (columns)", el("div", { class: "scroll heat" }, el("table", {},
      el("thead", {}, el("tr", {}, el("th", {}, "truth"), ...run.classes.map((c) => el("th", { class: "n", scope: "col" }, c)), el("th", { class: "n" }, "count"))),
      el("tbody", {}, ...lines))))];
  }

  function calibration(run) {
    const c = run.calibration;
    if (!c) { return [section("Calibration", el("p", {}, "Not recorded: the record is too old, or the task has no classes."))]; }
    const plot = el("div", { class: "plot" }), used = c.rows.map((n, i) => i).filter((i) => c.rows[i] > 0);
    const total = c.rows.reduce((a, b) => a + b, 0);
    const draw = () => PB.plot(plot, [
      { x: [0, 1], y: [0, 1], mode: "lines", line: { dash: "dash", color: PB.css("--soft") }, hoverinfo: "skip", name: "perfect" },
      { x: used.map((i) => (i + 0.5) / c.rows.length), y: used.map((i) => c.rows[i] / total), type: "bar", marker: { color: PB.css("--line") }, name: "share of points", hovertemplate: "%{y:.3f} of the points<extra></extra>" },
      { x: used.map((i) => c.confidence[i]), y: used.map((i) => c.accuracy[i]), mode: "lines+markers", marker: { size: 8 }, line: { color: PB.css("--mark") }, name: "right", hovertemplate: "confidence %{x:.3f}, right %{y:.3f}<extra></extra>" },
    ], { xaxis: { title: { text: "confidence" }, range: [0, 1] }, yaxis: { title: { text: "accuracy" }, range: [0, 1] }, ...PB.legend(plot, ["share of points", "perfect", "right"]) });
    PB.redraw.push(draw);
    queueMicrotask(draw);
    const ece = [c.ece.value, c.ece.low, c.ece.high];
    return [section(`Calibration: expected error ${PB.interval(ece)}`, plot)];
  }

  function history(run) {
    const steps = run.history.step;
    if (!steps) { return []; }
    const plot = el("div", { class: "plot" }), names = Object.keys(run.history).filter((n) => !["step", "lr", "grad_norm"].includes(n));
    const draw = () => PB.plot(plot, names.map((name, i) => ({ x: steps, y: run.history[name], mode: "lines", name, line: { color: PB.colours[i % PB.colours.length] } })),
      { xaxis: { title: { text: "step" } }, yaxis: { title: { text: "loss" }, type: "log" }, ...PB.legend(plot, names) });
    PB.redraw.push(draw);
    queueMicrotask(draw);
    return [section("Training", plot)];
  }

  function worst(run) {
    if (!run.worst.length) { return []; }
    return [section("Events with most errors", table(["event", "wrong", "points"],
      run.worst.map(([id, share, n]) => [id, `${(100 * share).toFixed(1)}%`, n.toLocaleString("en")])))];
  }

  function show(run) {
    document.title = `particlebench: ${run.title}`;
    document.getElementById("title").textContent = run.title;
    document.getElementById("about").textContent = `${run.task} on ${run.dataset}, ${run.revision}; ${run.status} ${run.created}`;
    const facts = el("table", { style: "width:auto" }, el("tbody", {}, ...run.facts.map(([name, text]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { style: "white-space:normal;overflow-wrap:anywhere" }, text)))));
    const settings = el("table", { style: "width:auto" }, el("tbody", {}, ...run.settings.map(([name, text]) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { style: "white-space:normal;overflow-wrap:anywhere" }, text)))));
    fill(main, run.error ? el("p", {}, `failed: ${run.error}`) : "",
      el("div", { class: "cards" }, ...scores(run), ...confusion(run), ...calibration(run), ...history(run), ...worst(run)),
      section("Resources", facts), section("Command", el("p", {}, el("code", {}, run.command)), el("p", {}, "fingerprint ", el("code", {}, run.fingerprint))),
      el("details", {}, el("summary", {}, "Every setting"), settings));
  }

  function open() {
    PB.redraw.length = 0;
    PB.load("runs", decodeURIComponent(location.hash.slice(1))).then(show, (error) => fill(main, el("p", {}, `Nothing to show: ${error.message}.`)));
  }
  window.addEventListener("hashchange", open);
  open();
})();
