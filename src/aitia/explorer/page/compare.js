// Two rankings side by side: how far they agree, a picture to brush, and the rows on which they differ.

import { ofRows } from "./api.js";
import { fill, field, h, number, percent, select, visible, whole } from "./dom.js";
import { change, query, state } from "./state.js";
import { textCell } from "./table.js";

let loading = null;
/** The plotly of the report, fetched from the local server when it is first wanted. */
export function plotly() {
  // plotly looks for this element, and where it has this class leaves styles to the page's own sheet.
  if (!document.getElementById("plotly.js-style-global")) document.body.append(h("div", { id: "plotly.js-style-global", class: "no-inline-styles", hidden: true }));
  loading ??= new Promise((done, failed) => {
    const script = h("script", { src: "plotly.js" });
    script.addEventListener("load", () => done(window.Plotly));
    script.addEventListener("error", () => { loading = null; failed(new Error("the pictures' script did not load")); });
    document.head.append(script);
  });
  return loading;
}

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function drawCompare(place, known, acts) {
  const scores = known.scores;
  if (scores.length < 2) {
    fill(place, h("h2", {}, "Compare two rankings"), h("p", { class: "empty" }, scores.length ? "There is one ranking only. Ask another concept, or tick a second scorer when you ask." : "There is no ranking yet. Ask a concept first."));
    return;
  }
  const has = (key) => scores.some((each) => each.key === key);
  const first = has(state.x) ? state.x : has(state.sort) ? state.sort : scores[0].key;
  const second = has(state.y) && state.y !== first ? state.y : scores.find((each) => each.key !== first).key;
  const options = scores.map((each) => [each.key, visible(each.title)]);
  const body = h("div", { class: "compare" }, h("p", { class: "wait" }, "Comparing\u2026"));
  fill(place, h("h2", {}, "Compare two rankings"),
    h("p", { class: "lead" }, "Each point is a row. Draw a frame around points to pick their rows; click a point to open it."),
    h("div", { class: "pair" }, field("Across", select(options, first, (x) => change({ x }))), field("Up", select(options, second, (y) => change({ y })))), body);
  draw(body, first, second, Object.fromEntries(options), acts);
}

async function draw(body, first, second, titles, acts) {
  let found;
  try { found = await ofRows(state.data, "compare", { first, second, query: query() }); } catch (error) {
    fill(body, h("p", { class: "notice" }, visible(error.message)));
    return;
  }
  const picture = h("div", { class: "picture", role: "img", "aria-label": `Scatter of ${titles[first]} and ${titles[second]}` });
  const tops = Object.entries(found.tops).map(([share, [both, count]]) => h("tr", {}, h("td", {}, `top ${percent(Number(share), 0)}`), h("td", { class: "n" }, `${whole(both)} of ${whole(count)}`), h("td", { class: "n" }, percent(both / count, 0)), h("td", { class: "n" }, percent(Number(share), 0))));
  fill(body,
    h("p", { class: "verdict" }, `Spearman correlation ${found.agreement === null ? "\u2013" : found.agreement.toFixed(3)} over ${whole(found.rows)} rows. ${agreementWords(found.agreement)}`),
    h("div", { class: "side" }, picture, h("div", {}, h("table", {}, h("thead", {}, h("tr", {}, ["Shared rows", "", "share", "by chance"].map((name, place) => h("th", { class: place ? "n" : "" }, name)))), h("tbody", {}, tops)),
      !found.all && h("p", { class: "help" }, `${whole(found.points.length)} of the rows are drawn, at even distances, and those that differ most.`))),
    h("div", { class: "pair" }, differing(`Higher by ${titles[first]}`, found.differing.first), differing(`Higher by ${titles[second]}`, found.differing.second)));
  try {
    const Plotly = await plotly();
    const ink = css("--ink"), line = css("--line");
    const axis = (title) => ({ title: { text: escaped(title), font: { size: 12 } }, gridcolor: line, zerolinecolor: css("--faint"), color: ink });
    await Plotly.newPlot(picture, [{
      type: "scatter", mode: "markers", x: found.points.map((each) => each[1]), y: found.points.map((each) => each[2]), customdata: found.points.map((each) => each[0]),
      marker: { size: 5, opacity: 0.6, color: found.points.map((each) => (state.picks.has(each[0]) ? css("--up") : css("--accent"))) },
      hovertemplate: "row %{customdata}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
    }], {
      height: 420, margin: { l: 70, r: 15, t: 10, b: 55 }, dragmode: "select", paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { color: ink, family: "system-ui, sans-serif" }, xaxis: axis(titles[first]), yaxis: axis(titles[second]), showlegend: false,
    }, { displayModeBar: false, responsive: true, plotlyServerURL: "" });
    picture.classList.add("drawn");
    picture.on("plotly_selected", (event) => { if (event?.points?.length) acts.pickMany(event.points.map((each) => each.customdata)); });
    picture.on("plotly_click", (event) => { const point = event.points?.[0]; if (point) change({ row: point.customdata }, { push: true }); });
  } catch (error) { fill(picture, h("p", { class: "notice" }, visible(error.message))); }
}

// plotly reads a few tags in its texts; a name with < must not become one.
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;");

function agreementWords(value) {
  if (value === null) return "";
  const size = Math.abs(value);
  if (size >= 0.8) return value > 0 ? "They order the rows much alike." : "They order the rows the other way round.";
  if (size >= 0.4) return "They agree in part. Look at the rows on which they differ.";
  return "They have little to do with each other. Nothing here says which one is right.";
}

function differing(title, rows) {
  return h("div", {}, h("h3", {}, title), rows.map((row) => h("button", { type: "button", class: "neighbour", on: { click: () => change({ row: row.position }, { push: true }) } },
    h("span", { class: "n", title: "Rank across and rank up" }, `${number(row.ranks[0], 7)} / ${number(row.ranks[1], 7)}`), textCell(row))));
}
