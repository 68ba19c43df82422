/* One event in three dimensions: truth and several models' predictions, rotated together. */
"use strict";
PB.showEvent = function (event, main) {
  const { el, fill } = PB;
  const VIEWS = { class: "Class", errors: "Errors", energy: "Energy" };
  const state = { view: event.truth ? "class" : "energy", on: new Set(event.predictions.slice(0, 2).map((p, i) => i)), camera: null };
  const [x, y, z] = event.coords;
  const size = event.energy.length > 6000 ? 2 : event.energy.length > 1500 ? 2.6 : 3.6;
  const logs = event.energy.map((e) => Math.log10(Math.max(e, 1e-4)));
  const sorted = [...logs].sort((a, b) => a - b), low = sorted[Math.floor(0.02 * sorted.length)], high = sorted[Math.ceil(0.98 * sorted.length) - 1];
  const unit = event.unit.split(/ of |,/)[0].replace(/</g, "&lt;");
  let plots = [], busy = false;

  document.getElementById("title").textContent = event.id;
  document.getElementById("about").textContent = [event.title || event.task, `${event.energy.length.toLocaleString("en")} points`,
    event.unit ? `axes: ${event.unit}` : "", event.leftOut ? `${event.leftOut.toLocaleString("en")} points of lowest energy left out` : "", event.text].filter(Boolean).join("; ");

  function colour(label) { return label >= 0 && label < event.classes.length ? event.colours[label] : "#bbbbbb"; }

  /* One trace per class: its name is the hover text, its colour is stored once. */
  function traces(labels, isTruth) {
    const hover = (i) => `${labels ? event.classes[labels[i]] ?? "none" : ""}<br>${event.energy[i]} ${event.energyUnit || "in energy"}`.replace(/^<br>/, "");
    if (state.view === "energy" || !labels) {
      return [points(null, { color: logs, colorscale: "Viridis", cmin: low, cmax: high, size }, hover)];
    }
    if (state.view === "errors" && event.truth && !isTruth) {
      const wrong = labels.map((label, i) => event.truth[i] >= 0 && label !== event.truth[i]);
      return [points((i) => !wrong[i], { color: PB.css("--soft"), size: size * 0.75, opacity: 0.25 }, hover),
        points((i) => wrong[i], { color: "#d55e00", size: size * 1.25 }, (i) => `${event.classes[event.truth[i]]}, predicted ${event.classes[labels[i]]}`)];
    }
    const groups = [...new Set(labels)].sort((a, b) => a - b);
    return groups.map((label) => points((i) => labels[i] === label, { color: colour(label), size }, hover));
  }

  function points(isShown, marker, hover) {
    const chosen = isShown ? event.energy.map((e, i) => i).filter(isShown) : event.energy.map((e, i) => i);
    const colours = Array.isArray(marker.color) ? chosen.map((i) => marker.color[i]) : marker.color;
    return { type: "scatter3d", mode: "markers", x: chosen.map((i) => x[i]), y: chosen.map((i) => y[i]), z: chosen.map((i) => z[i]),
      marker: { ...marker, color: colours, line: { width: 0 } }, text: chosen.map(hover), hoverinfo: "text", showlegend: false };
  }

  function scene() {
    const axis = { color: PB.css("--soft"), gridcolor: PB.css("--line"), backgroundcolor: "rgba(0,0,0,0)", showspikes: false, title: { text: "" }, nticks: 5 };
    return { aspectmode: "data", ...Object.fromEntries(["x", "y", "z"].map((name) => [`${name}axis`, { ...axis, title: { text: `${name} (${unit})` } }])),
      camera: state.camera || { eye: { x: 1.3, y: 1.3, z: 0.9 } }, dragmode: "orbit" };
  }

  function rotate(camera, source) {
    if (busy) { return; }
    busy = true;
    state.camera = camera;
    Promise.all(plots.filter((p) => p !== source).map((p) => Plotly.relayout(p, { "scene.camera": camera }))).then(() => { busy = false; });
  }

  /* Keyboard: the arrows rotate all scenes, plus and minus zoom. */
  function keys(event_) {
    const eye = (state.camera && state.camera.eye) || { x: 1.3, y: 1.3, z: 0.9 };
    let r = Math.hypot(eye.x, eye.y, eye.z), phi = Math.atan2(eye.y, eye.x), theta = Math.acos(eye.z / r);
    const step = 0.12, moves = { ArrowLeft: () => { phi -= step; }, ArrowRight: () => { phi += step; }, ArrowUp: () => { theta -= step; }, ArrowDown: () => { theta += step; }, "+": () => { r /= 1.15; }, "-": () => { r *= 1.15; } };
    if (!moves[event_.key]) { return; }
    event_.preventDefault();
    moves[event_.key]();
    theta = Math.min(Math.max(theta, 0.05), Math.PI - 0.05);
    rotate({ ...(state.camera || {}), eye: { x: r * Math.sin(theta) * Math.cos(phi), y: r * Math.sin(theta) * Math.sin(phi), z: r * Math.cos(theta) } }, null);
  }

  function panel(title, text, labels, link) {
    const plot = el("div", { class: "plot", tabindex: "0", role: "application", "aria-label": `${title}, three-dimensional; arrow keys rotate it, plus and minus zoom`, on: { keydown: keys } });
    const heading = link ? el("h3", {}, el("a", { href: `run.html#${link}` }, title)) : el("h3", {}, title);
    const node = el("section", { class: "scene" }, heading, el("p", {}, text || " "), plot);
    plots.push(plot);
    return [node, () => PB.plot(plot, traces(labels, labels === event.truth), { scene: scene(), margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: "same" }).then(() => {
      plot.removeAllListeners("plotly_relayout");
      plot.on("plotly_relayout", (change) => { if (change["scene.camera"]) { rotate(change["scene.camera"], plot); } });
    })];
  }

  function legend() {
    if (state.view === "energy" || !event.classes.length) { return el("p", { class: "notes" }, `Colour: logarithm of energy, from violet (${(10 ** low).toPrecision(2)} ${event.energyUnit}) to yellow (${(10 ** high).toPrecision(2)} ${event.energyUnit}).`); }
    const names = event.classes.map((name, i) => el("span", { class: "key" }, swatch(i), name));
    return el("p", {}, ...names, state.view === "errors" ? "In predictions, orange: wrong points, grey: right ones." : "");
  }

  function swatch(i) { const dot = el("i", { "aria-hidden": "true" }); dot.style.background = colour(i); return dot; }

  function draw() {
    plots.forEach((plot) => Plotly.purge(plot));
    plots = [];
    const panels = [panel(event.truth ? "Truth" : "Event", event.text, event.truth, null)];
    event.predictions.forEach((p, i) => { if (state.on.has(i)) { panels.push(panel(p.name, p.text, p.labels, p.run)); } });
    fill(main, controls(), legend(), el("div", { class: "scenes" }, ...panels.map(([node]) => node)));
    panels.forEach(([, render]) => render());
  }

  function controls() {
    const views = Object.entries(VIEWS).filter(([key]) => key === "energy" || event.truth).map(([key, name]) => el("button", { type: "button", "aria-pressed": String(state.view === key), on: { click: () => { state.view = key; draw(); } } }, name));
    const models = event.predictions.map((p, i) => el("label", { class: "check" }, el("input", { type: "checkbox", checked: state.on.has(i), on: { change: (change) => { if (change.target.checked) { state.on.add(i); } else { state.on.delete(i); } draw(); } } }), ` ${p.name}`));
    return el("div", { class: "controls" }, el("span", { role: "group", "aria-label": "Colour by" }, ...views), ...models);
  }

  PB.redraw.push(draw);
  draw();
};
(function () {
  const main = document.getElementById("main");
  if (PB.single) { PB.showEvent(PB.single, main); return; }
  function open() {
    PB.redraw.length = 0;
    PB.load("events", decodeURIComponent(location.hash.slice(1))).then((event) => PB.showEvent(event, main), (error) => PB.fill(main, PB.el("p", {}, `Nothing to show: ${error.message}.`)));
  }
  window.addEventListener("hashchange", open);
  open();
})();
