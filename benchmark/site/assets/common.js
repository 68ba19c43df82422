/* Shared by all pages. Texts of records are set as text, never as HTML. */
"use strict";
const PB = { index: null, runs: {}, events: {}, redraw: [] };
/* Colours of parts of one run, distinct without red-green vision; those of models come with the data. */
PB.colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

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
/* A plot's text: no tag and no formula of plotly's. */
PB.text = function (text) { return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/\$/g, "&#36;"); };
/* Names as a plot's legend has room for them, their middle left out where they are long. */
PB.names = function (node, names) {
  const most = Math.max(12, Math.min(36, Math.floor((node.clientWidth - 80) / 9)));
  return names.map((name) => PB.text(name.length <= most ? name : `${name.slice(0, most / 2)}...${name.slice(3 - most / 2)}`));
};
/* The legend stands below where the plot is narrow, and the plot grows by its lines. */
PB.legend = function (node, names) {
  const width = node.clientWidth || 600;
  if (width >= 560 && names.length <= 16) { node.style.height = ""; return {}; }
  const longest = Math.min(36, Math.max(...names.map((name) => name.length))) * 6.6 + 62;
  const columns = Math.max(1, Math.floor((width - 40) / longest)), lines = Math.ceil(names.length / columns) * 19 + 12;
  node.style.height = `${330 + lines}px`;
  return { margin: { l: 54, r: 10, t: 30, b: lines + 64 }, legend: { orientation: "h", x: 0, xanchor: "left", y: -60 / 236, yanchor: "top", font: { size: 11 } } };
};
PB.layout = function (more) {
  const ink = PB.css("--ink"), line = PB.css("--line");
  const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: ink, size: 13 },
    margin: { l: 62, r: 14, t: 34, b: 48 }, legend: { x: 1.02, y: 1, font: { size: 12 } }, hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: PB.css("--soft"), activecolor: ink },
  };
  const result = { ...base, ...more };
  for (const name of ["xaxis", "yaxis"]) { result[name] = { ...axis, ...(more || {})[name] }; }
  return result;
};
PB.config = { displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
PB.plot = function (node, traces, layout) {  // the size is given: plotly keeps that of a node which was hidden meanwhile
  const size = { width: node.clientWidth, height: node.clientHeight };
  return Plotly.react(node, traces, { ...PB.layout(layout), ...size }, PB.config);
};
/* Plots are laid out for a width: draw them again where it changes. */
(function () {
  let width = window.innerWidth, waiting = null;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) { return; }
    width = window.innerWidth;
    clearTimeout(waiting);
    waiting = setTimeout(() => PB.redraw.forEach((draw) => draw()), 150);
  });
})();

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
