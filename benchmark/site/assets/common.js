/* Shared by all pages. Texts of records are set as text, never as HTML. */
"use strict";
const PB = { index: null, runs: {}, events: {}, redraw: [] };
/* Okabe and Ito's colours, distinct without red-green vision; markers differ, too. */
PB.colours = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#8c6d31", "#7f7f7f", "#a6761d", "#4b0082"];
PB.markers = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "star", "x", "pentagon", "hexagon"];
PB.classes = ["#d1495b", "#30638e", "#edae49", "#00798c", "#999999", "#7b4fa3"];

PB.el = function (tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") { for (const [event, action] of Object.entries(value)) { node.addEventListener(event, action); } }
    else if (value !== null && value !== false) { node.setAttribute(name, value === true ? "" : value); }
  }
  for (const child of children) { if (child !== null) { node.append(child); } }
  return node;
};
PB.fill = function (node, ...children) { node.replaceChildren(...children); };
PB.css = function (name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); };
PB.number = function (value, places) { return value === null || value === undefined ? "-" : value.toFixed(places === undefined ? 3 : places); };
PB.interval = function (entry) {
  const [value, low, high] = entry;
  if (value === null) { return "-"; }
  return low === null ? PB.number(value) : `${PB.number(value)} [${PB.number(low)}, ${high === null ? "..." : PB.number(high)}]`;
};
PB.layout = function (more) {
  const ink = PB.css("--ink"), line = PB.css("--line");
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 13 },
    margin: { l: 62, r: 14, t: 12, b: 48 }, legend: { x: 1.02, y: 1, font: { size: 12 } }, hovermode: "closest",
  };
  const result = { ...base, ...more };
  for (const name of ["xaxis", "yaxis"]) { result[name] = { ...axis, ...(more || {})[name] }; }
  return result;
};
PB.config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
PB.plot = function (node, traces, layout) { return Plotly.react(node, traces, PB.layout(layout), PB.config); };

/* Loads data/<kind>/<key>.js; fetch does not work from the disk. */
PB.load = function (kind, key) {
  return new Promise((resolve, reject) => {
    if (!/^[A-Za-z0-9_.-]+$/.test(key)) { reject(new Error("no such page")); return; }
    const node = PB.el("script", { src: `data/${kind}/${key}.js` });
    node.onload = () => (PB[kind][key] ? resolve(PB[kind][key]) : reject(new Error("no such page")));
    node.onerror = () => reject(new Error("this page has no data"));
    document.head.append(node);
  });
};

(function () {
  const button = document.getElementById("theme"), root = document.documentElement;
  if (!button) { return; }
  const dark = () => PB.css("color-scheme") === "dark" || root.dataset.theme === "dark" ||
    (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  try { const stored = localStorage.getItem("theme"); if (stored === "dark" || stored === "light") { root.dataset.theme = stored; } } catch (error) { /* no storage for pages from the disk */ }
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; button.setAttribute("aria-label", `Change to ${dark() ? "light" : "dark"} colours`); };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("theme", root.dataset.theme); } catch (error) { /* not stored */ }
    label();
    PB.redraw.forEach((draw) => draw());
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { label(); PB.redraw.forEach((draw) => draw()); });
  label();
})();
