// What a run left: its report, scorecards, certificates and figures; and its slices.

import { ask } from "./api.js";
import { button, fill, h, number, percent, said, toast, visible, whole } from "./dom.js";

export async function drawRun(place, overview) {
  const base = location.pathname.split("/").slice(0, -2).join("/");
  const files = overview.figures.filter((name) => !name.startsWith("slices"));
  const shown = h("div", {});
  fill(place, h("h2", {}, "The run"), h("p", { class: "lead" }, `Opened: ${overview.places.map(visible).join(", ")}`),
    h("h3", {}, "Pages"),
    overview.pages.length ? h("ul", {}, overview.pages.map((each) => h("li", {}, h("a", { href: `${base}/${each.key}`, target: "_blank", rel: "noopener noreferrer" }, visible(each.path))))) : h("p", { class: "empty" }, "There is no report or scorecard page in what is opened. `aitia attribute` writes a report, `aitia evaluate` a scorecard."),
    h("h3", {}, "Scorecards, certificates and figures"), files.length ? null : h("p", { class: "empty" }, "There are none in what is opened."), shown);
  const again = h("div", {});
  place.append(h("h3", {}, "Train again without rows"), h("p", { class: "help" }, "A counterfactual run removes rows, trains again, and measures what changed. It is what decides; scores only predict."), again);
  drawRuns(again);
  for (const name of files) {
    try { shown.append(h("article", { class: "card" }, h("h3", {}, visible(name)), known(await ask(`figures/${encodeURIComponent(name)}`)))); } catch (error) { shown.append(h("p", { class: "notice" }, visible(error.message))); }
  }
}

async function drawRuns(place) {
  let found;
  try { found = await ask("runs"); } catch (error) { fill(place, h("p", { class: "notice" }, visible(error.message))); return; }
  const act = async (path, given) => { try { await ask(path, given); } catch (error) { toast(error.message, true); } drawRuns(place); };
  const going = found.runs.some((each) => each.running);
  fill(place,
    found.configurations.length ? found.configurations.map((each) => h("div", { class: "card" }, h("p", {}, h("code", {}, visible(each.command))),
      h("div", { class: "controls" }, button("Start", () => { if (confirm(`Start this? It may take hours.\n\n${each.command}`)) act("runs/start", { configuration: each.key }); }, { disabled: going }), h("span", { class: "help" }, "It goes on when the explorer ends."))))
      : h("p", { class: "empty" }, "There is no configuration of `aitia counterfactual` in what is opened. docs/counterfactual.md shows how to write one."),
    found.runs.map((each) => h("div", { class: "card" }, h("p", {}, h("b", {}, each.running ? "Running" : each.status === 0 ? "Done" : `Ended with status ${each.status}`), `, its log is ${visible(each.log)}`),
      h("pre", { class: "log" }, visible(each.said) || "It has said nothing yet."), each.running && button("Stop", () => act("runs/stop", {}), { title: "The same command goes on from there" }))));
  for (const log of place.querySelectorAll(".log")) log.scrollTop = log.scrollHeight;
  if (going) setTimeout(() => { if (place.isConnected) drawRuns(place); }, 2000);
}

function known(value) {
  if (Array.isArray(value.explanations) && value.phenomenon) return scorecard(value);
  if (typeof value.format === "string" && value.format.startsWith("aitia-certificate") && value.claim) return certificate(value);
  return tree(value, 0);
}

function scorecard(card) {
  return card.explanations.map((each) => h("div", {}, h("h4", {}, said(each.name ?? ""), each.verdict && h("span", { class: "note" }, `: ${visible(each.verdict)}`)),
    each.conditions && h("table", {}, h("tbody", {}, each.conditions.map((one) => h("tr", {}, h("td", {}, visible(one.name)), h("td", {}, one.met === null ? "undecided" : one.met ? "met" : "not met"), h("td", {}, visible(one.evidence)))))),
    each.results && h("p", { class: "help" }, `${whole(each.results.filter((one) => one.value === null).length)} of ${whole(each.results.length)} measures were not taken, and are left out here.`),
    each.results && h("table", {}, h("thead", {}, h("tr", {}, ["Measure", "Value", "Interval", "Grade"].map((name, index) => h("th", { class: index === 1 || index === 2 ? "n" : "" }, name)))), h("tbody", {}, each.results.filter((one) => one.value !== null).map((one) => h("tr", {}, h("td", {}, visible(one.name)), h("td", { class: "n" }, number(one.value)), h("td", { class: "n" }, one.interval ? `${number(one.interval.low)} to ${number(one.interval.high)}` : ""), h("td", {}, visible(one.grade ?? ""))))))));
}

function certificate(value) {
  const { certified, inputs, cost } = value.claim;
  return [h("p", { class: "verdict" }, `It claims: at least ${whole(certified)} of ${whole(inputs)} inputs are right (${percent(certified / inputs)}), at a cost of ${whole(cost)} operations, by the verifier ${visible(value.verifier ?? "")}.`),
    h("p", { class: "help" }, "Nothing on this page has checked it: `aitia check NETWORK CERTIFICATE` does."), h("details", {}, h("summary", {}, "The network"), tree(value.network ?? {}, 1))];
}

function tree(value, depth) {
  if (value === null || typeof value !== "object") return h("span", {}, typeof value === "number" ? number(value, 6) : said(String(value)));
  const entries = Object.entries(value);
  if (!entries.length) return h("span", { class: "none" }, "nothing");
  const alike = entries.length > 1 && entries.every(([, each]) => each !== null && typeof each === "object" && !Array.isArray(each));
  const names = alike ? Object.keys(entries[0][1]) : [];
  if (alike && names.length && names.length < 9 && entries.every(([, each]) => Object.keys(each).join() === names.join() && names.every((name) => each[name] === null || typeof each[name] !== "object"))) {
    return h("table", {}, h("thead", {}, h("tr", {}, h("th", {}), names.map((name) => h("th", {}, said(name))))), h("tbody", {}, entries.slice(0, 100).map(([name, each]) => h("tr", {}, h("td", {}, said(name)), names.map((one) => h("td", {}, tree(each[one], depth + 1)))))));
  }
  const list = h("dl", {}, entries.slice(0, 100).map(([name, each]) => [h("dt", {}, said(name)), h("dd", {}, each !== null && typeof each === "object" && depth > 0 && Object.keys(each).length > 4 ? h("details", {}, h("summary", {}, `${whole(Object.keys(each).length)} entries`), tree(each, depth + 1)) : tree(each, depth + 1))]));
  return entries.length > 100 ? [list, h("p", { class: "notice" }, `${whole(entries.length - 100)} more are in the file.`)] : list;
}

export async function drawSlices(place, overview, acts) {
  const names = overview.figures.filter((name) => name.startsWith("slices"));
  fill(place, h("h2", {}, "Slices"), h("p", { class: "lead" }, "A slice is the rows on which a feature of a sparse autoencoder fires. Which kinds of rows raise the concept?"));
  if (!names.length) { place.append(h("p", { class: "empty" }, "There are no slices in what is opened. Make them with `aitia slices`, or with `slices:` in the configuration of `aitia attribute`.")); return; }
  for (const name of names) {
    let found;
    try { found = await ask(`figures/${encodeURIComponent(name)}`); } catch (error) { place.append(h("p", { class: "notice" }, visible(error.message))); continue; }
    const slices = (found.slices ?? []).filter((each) => each && typeof each === "object"), limit = found.settings?.false_discovery_rate ?? 0.05, hits = new Set(found.found ?? []);
    const ends = slices.length > 60 ? [...slices.slice(0, 30), ...slices.slice(-30)] : slices;
    place.append(h("p", { class: "verdict" }, `${whole(hits.size)} of ${whole(found.tested ?? slices.length)} tested slices hold a false-discovery rate of ${percent(limit, 0)}, by ${visible(found.method ?? "")} of \u201c${visible(found.concept?.name ?? "")}\u201d. ${hits.size ? "" : "None is certain: the slices below may stand at the ends by chance."}`),
      h("table", { class: "slices" }, h("thead", {}, h("tr", {}, ["Feature", "What it fires on", "Rows", "Mean score", "z", "p, adjusted", ""].map((each, index) => h("th", { class: [0, 2, 3, 4, 5].includes(index) ? "n" : "" }, each)))),
        h("tbody", {}, ends.map((each) => h("tr", { class: hits.has(each.feature) ? "found" : "" },
          h("td", { class: "n" }, whole(each.feature)), h("td", {}, words(each)), h("td", { class: "n" }, whole(each.size ?? each.members?.length ?? 0)), h("td", { class: `n ${each.mean >= 0 ? "up" : "down"}` }, number(each.mean)), h("td", { class: "n" }, number(each.calibrated_z ?? each.z, 3)), h("td", { class: "n" }, number(each.p_adjusted, 2)),
          h("td", { class: "acts" }, each.members && button("Pick its rows", () => acts.pickIds(each.members)), overview.autoencoders.length === 1 && button("Ask", () => acts.feature(overview.autoencoders[0], each.feature), { title: "Rank all rows by this feature" })))))));
    if (ends.length < slices.length) place.append(h("p", { class: "help" }, `The 30 slices at either end of ${whole(slices.length)} are shown.`));
  }
}

function words(slice) {
  const label = slice.label ?? {}, spans = Array.isArray(label.spans) ? label.spans.slice(0, 2) : [];
  return [label.label && h("div", {}, said(label.label)), spans.map((each) => h("div", { class: "span" }, said(each.before ?? ""), h("mark", {}, said(each.peak ?? "")), said(each.after ?? ""))),
    !spans.length && !label.label && Array.isArray(label.terms) && h("span", {}, said(label.terms.join(", ")))];
}
