// The page: which view is shown, which row is opened, keys, and what happens when the server goes away.

import { ask, ofRows, whenLost } from "./api.js";
import { askQuestion, drawAsk, heldOut } from "./ask.js";
import { drawCompare } from "./compare.js";
import { button, fill, h, select, toast, visible, whole } from "./dom.js";
import { drawFilters } from "./filters.js";
import { drawRemove } from "./remove.js";
import { drawRow } from "./row.js";
import { drawRun, drawSlices } from "./run.js";
import { change, onChange, read, state } from "./state.js";
import { Table, lengthCell, scoreCell, textCell } from "./table.js";

const VIEWS = [["rows", "Rows"], ["ask", "Ask a concept"], ["compare", "Compare"], ["remove", "Remove and export"], ["slices", "Slices"], ["run", "The run"]];
const place = (id) => document.getElementById(id);
let columnsOpen = false;
let overview, known = { columns: [], scores: [], texts: { state: "reading", read: 0, reason: "" }, picks: [] }, table = null, parts = null;

const acts = {
  about: () => overview.rows[state.data],
  canAsk: () => !acts.about().lacking && acts.about().methods.length > 0,
  see: (key) => change({ view: "rows", sort: key, up: false }, { push: true }),
  compare: (key) => change({ view: "compare", x: key, y: "" }, { push: true }),
  pick: (position, on) => {
    const picks = new Set(state.picks);
    if (on) picks.add(position); else picks.delete(position);
    change({ picks });
  },
  pickMany: (positions) => { const picks = new Set([...state.picks, ...positions]); const more = picks.size - state.picks.size; change({ picks }); toast(`${whole(more)} more rows are picked, ${whole(picks.size)} in all.`); },
  pickIds: async (ids) => {
    try { acts.pickMany((await ofRows(state.data, "positions", { ids })).positions); } catch (error) { toast(error.message, true); }
  },
  like: (position) => askAndSee({ kind: "rows", positive: [position] }),
  feature: (autoencoder, feature) => askAndSee({ kind: "feature", autoencoder, feature, side: "encoder" }),
  reload: async () => { known = await ofRows(state.data, "columns"); if (state.view !== "rows") drawView(); },
};

async function askAndSee(question) {
  try {
    const [scores] = await askQuestion(question);
    known = await ofRows(state.data, "columns");
    acts.see(scores.key);
    toast(`${whole(acts.about().count)} rows ranked by \u201c${scores.concept}\u201d.`);
  } catch (error) { toast(error.message, true); }
}

/** The columns of the table; beside an opened row only one of scores, unless all are asked for. */
function columns(all = false) {
  const wide = all || state.row === null;
  const keys = [...new Set([...(known.scores.some((each) => each.key === state.sort) ? [state.sort] : []), ...state.shown])].filter((key, place) => wide || place === 0);
  const scores = keys.map((key) => known.scores.find((each) => each.key === key)).filter(Boolean);
  const more = !wide ? [] : state.shown.filter((name) => known.columns.some((each) => each.name === name && !each.own)).slice(0, 12);
  return [
    { title: "Pick", width: "44px", class: "picks", cell: (row) => h("input", { type: "checkbox", checked: state.picks.has(row.position), "aria-label": `Pick row ${row.position}`, on: { change: (event) => acts.pick(row.position, event.target.checked) } }) },
    { title: "Row", width: "76px", sort: "", class: "n", cell: (row) => whole(row.position) },
    ...scores.map((each) => ({ key: each.key, title: each.method, note: each.concept, width: "172px", sort: each.key, cell: (row) => scoreCell(...(row.cells[each.key] ?? [null, 0]), each.largest) })),
    { title: "Text", width: "minmax(260px, 1fr)", cell: textCell },
    ...more.map((name) => ({ key: name, title: name, width: "110px", sort: name, class: "cut", cell: (row) => h("bdi", { dir: "auto" }, visible(String(row.cells[name] ?? "\u2013"))) })),
    { title: "Tokens", width: "76px", sort: "response_tokens", class: "n", cell: lengthCell },
  ];
}

function drawRows(view) {
  parts = { strip: h("div", { class: "strip" }), filters: h("div", { class: "filters" }), bar: h("div", { class: "bar" }), table: h("div", { class: "table" }) };
  fill(view, parts.strip, parts.filters, parts.bar, parts.table);
  table = new Table(parts.table, { columns, open: (position) => change({ row: position }), pick: acts.pick, counted });
  drawAround();
  table.refresh();
}

function counted(matched, problem) {
  const all = acts.about().count;
  const text = problem ? "" : matched === all ? `${whole(all)} rows` : `${whole(matched)} of ${whole(all)} rows`;
  const order = state.sort === "" ? "in the order of the data" : `by ${visible(known.scores.find((each) => each.key === state.sort)?.title ?? state.sort)}, ${state.up ? "lowest" : "highest"} first`;
  const more = [...known.scores.map((each) => [each.key, visible(each.title)]), ...known.columns.filter((each) => !each.own).map((each) => [each.name, visible(each.name)])];
  fill(parts.bar, h("span", { class: "count" }, text, text ? `, ${order}` : ""),
    h("span", { class: "tools" },
      h("label", { class: "inline" }, "Sort by ", select([["", "order of the data"], ...known.scores.map((each) => [each.key, visible(each.title)]), ["response_tokens", "response length"], ["prompt_tokens", "prompt length"], ...known.columns.filter((each) => !each.own).map((each) => [each.name, visible(each.name)])], state.sort, (sort) => change({ sort, up: false }), { id: "sort" })),
      button(state.up ? "Lowest first \u25b2" : "Highest first \u25bc", () => change({ up: !state.up }), { title: "Turn the order around", disabled: state.sort === "" }),
      h("details", { class: "adder", open: columnsOpen, on: { toggle: (event) => { columnsOpen = event.target.open; } } }, h("summary", {}, "Columns"), h("div", { class: "body list" }, more.length ? more.map(([key, title]) => h("label", { class: "choice" }, h("input", { type: "checkbox", checked: state.shown.includes(key), on: { change: (event) => change({ shown: event.target.checked ? [...state.shown, key] : state.shown.filter((each) => each !== key) }) } }), ` ${title}`)) : h("p", { class: "help" }, "There are no further columns."))),
      state.picks.size > 0 && button(`${whole(state.picks.size)} picked`, () => change({ onlyPicks: !state.onlyPicks }), { class: state.onlyPicks ? "on" : "", title: "Show only the picked rows, or all" })));
}

function drawAround() {
  const scores = known.scores.find((each) => each.key === state.sort);
  fill(parts.strip,
    known.scores.length === 0 && h("p", { class: "notice" }, "There are no scores yet, so the rows stand in the order of the data. ", acts.canAsk() ? button("Ask a concept", () => change({ view: "ask" }, { push: true }), { class: "main" }) : visible(acts.about().lacking ?? "")),
    scores && h("p", {}, h("b", {}, visible(scores.concept || scores.method)), ` by ${scores.method}${scores.site ? ` at ${visible(scores.site)}` : ""}. `, scores.asked ? heldOut(scores) : ""),
    scores?.warnings?.map((text) => h("details", { class: "warning" }, h("summary", {}, visible(`${text.split(/[:.](?=\s|$)/)[0]}.`)), h("p", {}, visible(text)))));
  drawFilters(parts.filters, known, overview);
}

function drawView() {
  fill(place("views"), VIEWS.map(([key, title]) => button(title, () => change({ view: key }, { push: true }), { "aria-current": state.view === key ? "page" : null })));
  const view = place("view");
  view.className = state.view;
  table = null;
  if (state.view === "ask") drawAsk(view, known, overview, acts);
  else if (state.view === "compare") drawCompare(view, known, acts);
  else if (state.view === "remove") drawRemove(view, known, acts);
  else if (state.view === "slices") drawSlices(view, overview, acts);
  else if (state.view === "run") drawRun(view, overview);
  else drawRows(view);
}

const SEARCHED = ["text", "pattern", "part", "conditions", "onlyPicks", "sort", "up", "shown"];

onChange((changes) => {
  const changed = Object.keys(changes);
  if (changed.includes("data")) { load().catch(failed); return; }
  if (changed.includes("view") || (changed.some((name) => ["x", "y"].includes(name)) && state.view === "compare")) drawView();
  else if (table) {
    const focused = document.activeElement?.id;
    const onlyText = changed.every((name) => name === "text");
    if (changed.some((name) => SEARCHED.includes(name))) { table.refresh(); if (!onlyText) drawAround(); }
    if (changed.includes("picks")) { if (state.onlyPicks) table.refresh({ keep: true }); else table.draw(); counted(table.matched, table.problem); drawAround(); }
    if (focused && document.activeElement?.id !== focused) place(focused)?.focus();
  } else if (changed.includes("picks") && state.view === "remove") drawView();
  if (changed.includes("row") || (changed.includes("picks") && state.row !== null)) { table?.drawHead(); table?.draw(); drawRow(place("panel"), known, acts); }
});

async function load() {
  known = await ofRows(state.data, "columns");
  if (!state.picks.size && known.picks.length) state.picks = new Set(known.picks);
  await askAgain();
  if (state.sort !== "" && !known.scores.some((each) => each.key === state.sort) && !known.columns.some((each) => each.name === state.sort)) state.sort = "";
  if (state.sort === "" && !location.hash && known.scores.length) state.sort = known.scores[0].key;
  drawView();
  if (state.row !== null) drawRow(place("panel"), known, acts);
  else place("panel").hidden = true;
  watchTexts();
}

/** What an address from before the server's start had asked is asked again. */
async function askAgain() {
  const wanted = [state.sort, state.x, state.y, ...state.shown].filter((key) => key.startsWith("asked:"));
  if (!acts.canAsk() || wanted.every((key) => known.scores.some((each) => each.key === key))) return;
  fill(place("view"), h("p", { class: "wait" }, "What was asked before is asked again\u2026"));
  for (const question of state.questions) {
    try { await ofRows(state.data, "ask", { question }); } catch (error) { toast(error.message, true); }
  }
  known = await ofRows(state.data, "columns");
}

async function watchTexts() {
  const mine = state.data;
  while (known.texts.state === "reading" && mine === state.data) {
    await new Promise((done) => setTimeout(done, 700));
    let found;
    try { found = await ofRows(state.data, "columns"); } catch { continue; }
    if (mine !== state.data) return;
    const ended = found.texts.state !== "reading";
    known = { ...found, picks: known.picks };
    if (table && ended) { table.refresh({ keep: true }); drawAround(); } else if (table && !parts.filters.contains(document.activeElement)) drawFilters(parts.filters, known, overview);
    if (ended && state.row !== null) drawRow(place("panel"), known, acts);
  }
}

function failed(error) {
  fill(place("view"), h("p", { class: "bad" }, visible(error.message)));
}

const KEYS = [["j or \u2193", "next row"], ["k or \u2191", "row before"], ["Page Down, Page Up", "a page on or back"], ["Home, End", "first or last row"], ["Enter", "open the row"], ["x", "pick the row, or put it back"], ["m", "more like this row"], ["/", "search"], ["s", "choose the order"], ["1 to 6", "the views"], ["Esc", "close the row, leave the search"], ["?", "these keys"]];

function drawKeys() {
  fill(place("keys"), h("h2", {}, "Keys"), h("dl", {}, KEYS.map(([key, act]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, act)])), button("Close", () => place("keys").close()));
  place("keys").showModal();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select");
  if (event.key === "Escape") {
    if (place("keys").open) return;
    event.preventDefault(); // browsers would empty the search
    if (typing) typing.blur(); else if (state.row !== null) change({ row: null });
    table?.scroll.focus({ preventScroll: true });
    return;
  }
  if (typing || place("keys").open) return;
  const view = VIEWS[Number(event.key) - 1];
  const page = table ? table.sight - 1 : 0;
  const pressed = event.target.closest?.("button, a, summary, label") !== null;
  const acted = {
    j: () => table?.move(1), ArrowDown: () => table?.move(1), k: () => table?.move(-1), ArrowUp: () => table?.move(-1),
    PageDown: () => table?.move(page), PageUp: () => table?.move(-page), Home: () => table?.move(0, 0), End: () => table?.move(0, Infinity),
    Enter: pressed ? null : () => table?.enter(), x: () => (table && table.at >= 0 ? table.toggle() : state.row !== null && acts.pick(state.row, !state.picks.has(state.row))),
    m: () => { const row = state.row ?? table?.line(table.at)?.position; if (row !== undefined && row !== null && acts.canAsk()) acts.like(row); },
    "/": () => { const box = place("search"); if (box) { box.focus(); box.select(); } else change({ view: "rows" }); },
    s: () => place("sort")?.focus(), "?": drawKeys,
  }[event.key] ?? (view ? () => change({ view: view[0] }, { push: true }) : null);
  if (!acted) return;
  event.preventDefault();
  acted();
});

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  place("theme").textContent = dark ? "Light" : "Dark";
}
const liked = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
theme(liked() ? liked() === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
place("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme !== "dark";
  theme(dark);
  try { localStorage.setItem("theme", dark ? "dark" : "light"); } catch { /* kept for this page alone then */ }
  if (state.view === "compare") drawView();
});
place("help").addEventListener("click", drawKeys);
addEventListener("popstate", () => { read(); load().catch(failed); });

whenLost((text) => {
  const lost = document.querySelector(".lost");
  if (text === null) { lost?.remove(); return; }
  if (!lost) place("notices").prepend(h("div", { class: "bad lost" }, h("p", {}, text), h("code", {}, location.hash || "#")));
});

read();
try {
  overview = await ask("opened");
  if (!overview.rows[state.data]) state.data = 0;
  fill(place("notices"), overview.notices.map((text) => h("p", { class: "notice" }, visible(text))),
    overview.rows.filter((each) => each.lacking).map((each) => h("p", { class: "notice" }, `No concept can be asked of ${visible(each.name)}: ${visible(each.lacking)}`)));
  place("which").hidden = overview.rows.length < 2;
  const choose = place("data");
  fill(choose, overview.rows.map((each, index) => h("option", { value: index }, visible(`${each.name} (${whole(each.count)} rows)`))));
  choose.value = String(state.data);
  choose.addEventListener("change", () => change({ data: Number(choose.value), sort: "", x: "", y: "", shown: [], conditions: [], text: "", picks: new Set(), onlyPicks: false, row: null, questions: [] }, { push: true }));
  await load();
} catch (error) { failed(error); }
