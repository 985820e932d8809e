// Rows that go: which, what their removal is predicted to do, and the curated data with the command that does the same.

import { ofRows } from "./api.js";
import { button, field, fill, h, number, percent, select, toast, visible, whole } from "./dom.js";
import { change, query, state } from "./state.js";

const draft = { way: "score", amount: "10%", end: "top", name: "curated" };

export function drawRemove(place, known, acts) {
  const effect = h("div", { class: "effect" });
  const scores = known.scores;
  if (draft.way === "score" && !scores.length) draft.way = "picks";
  const key = () => (scores.some((each) => each.key === draft.score) ? draft.score : scores.some((each) => each.key === state.sort) ? state.sort : scores[0]?.key);
  const choice = () => {
    if (draft.way === "score") return { score: key(), end: draft.end, amount: draft.amount.trim() };
    if (draft.way === "query") return { query: query() };
    return { positions: [...state.picks] };
  };
  const predict = async () => {
    if (draft.way === "picks" && !state.picks.size) { fill(effect, h("p", { class: "empty" }, "No row is picked. Pick rows in the view Rows: tick their boxes, or press x.")); return; }
    fill(effect, h("p", { class: "wait" }, "Adding up\u2026"));
    try { fill(effect, effects((await ofRows(state.data, "removal", { choice: choice() })).effects)); } catch (error) { fill(effect, h("p", { class: "notice" }, visible(error.message))); }
  };
  const written = h("div", { class: "written" });
  const write = async () => {
    fill(written, h("p", { class: "wait" }, "Writing\u2026"));
    try {
      const found = await ofRows(state.data, "export", { choice: choice(), name: draft.name.trim() });
      const commands = h("pre", {}, found.commands.map(visible).join("\n"));
      fill(written, h("p", { class: "good" }, `${whole(found.kept)} rows stay, ${whole(found.removed)} go. Each row is as it was.`),
        h("dl", {}, Object.entries(found.files).map(([name, path]) => [h("dt", {}, name), h("dd", {}, visible(path))])),
        h("h3", {}, "The same from the command line"), commands,
        button("Copy", async () => { try { await navigator.clipboard.writeText(commands.textContent); toast("Copied."); } catch { getSelection().selectAllChildren(commands); toast("Selected: press Ctrl+C."); } }));
    } catch (error) { fill(written, h("p", { class: "bad" }, visible(error.message))); }
  };
  const form = h("div", { class: "form" });
  const draw = () => fill(form,
    h("fieldset", {}, h("legend", {}, "Which rows go?"),
      [["score", "One end of a ranking", scores.length > 0], ["picks", `The ${whole(state.picks.size)} rows that I picked`, true], ["query", "All rows that the search and the filters show", true]].map(([value, text, able]) => h("label", { class: "choice" },
        h("input", { type: "radio", name: "way", value, checked: draft.way === value, disabled: !able, on: { change: () => { draft.way = value; draw(); predict(); } } }), ` ${text}`))),
    draft.way === "score" && h("div", { class: "pair" },
      field("Ranking", select(scores.map((each) => [each.key, visible(each.title)]), key(), (value) => { draft.score = value; predict(); })),
      field("End", select([["top", "top: rows that raise the concept"], ["bottom", "bottom: rows that lower it"]], draft.end, (value) => { draft.end = value; predict(); })),
      field("How many", amount(), "A share (10%) or a number (50).")));
  const amount = () => { const made = h("input", { type: "text", size: 8, value: draft.amount }); made.addEventListener("change", () => { draft.amount = made.value; predict(); }); return made; };
  const name = h("input", { type: "text", maxlength: 60, value: draft.name });
  name.addEventListener("input", () => { draft.name = name.value; });
  draw();
  fill(place, h("h2", {}, "Remove rows"),
    h("p", { class: "lead" }, "Choose rows, see what their removal is predicted to do, and write the data without them. Nothing is written before you press the button, and nothing is written over."),
    form, h("h3", {}, "Predicted effect"), effect,
    h("h3", {}, "Write the curated data"), h("div", { class: "controls" }, field("Name of the files", name), button("Write", write, { class: "main" })),
    h("p", { class: "help" }, `They are written to ${visible(acts.about().folder)}.`), written,
    h("h3", {}, "Keep the picks"), h("p", { class: "help" }, "Picked rows stand in this page's address. Saved picks are there again at the next start."),
    button("Save the picks", async () => { try { toast(`Saved: ${(await ofRows(state.data, "picks", { positions: [...state.picks] })).file}`); } catch (error) { toast(error.message, true); } }),
    " ", button("Forget the picks", () => change({ picks: new Set(), onlyPicks: false })));
  predict();
}

function effects(found) {
  const [one] = found, flags = Object.entries(one.flags);
  const verdict = (each) => {
    const [expected, low, high] = each.random;
    return each.removed > high ? "lowers it more than chance" : each.removed < low ? "raises it more than chance" : expected === each.removed ? "\u2013" : "as rows at random";
  };
  return [
    h("p", { class: "verdict" }, `${whole(one.count)} of ${whole(one.rows)} rows (${percent(one.count / Math.max(one.rows, 1))}) with ${whole(one.tokens[0])} response tokens (${percent(one.tokens[0] / Math.max(one.tokens[1], 1))}) go. `,
      flags.map(([name, [gone, all]]) => `Of the ${whole(all)} rows with ${visible(name)}, ${whole(gone)} go (${percent(gone / Math.max(all, 1), 0)}). `).join("")),
    h("table", {}, h("thead", {}, h("tr", {}, ["Scorer", "Sum of their scores", "As many rows at random, 95 %", "Share of all that raises it", "Removal"].map((name, place) => h("th", { class: place > 0 && place < 4 ? "n" : "" }, name)))),
      h("tbody", {}, found.map((each) => h("tr", {}, h("td", {}, visible(each.scores)), h("td", { class: "n" }, number(each.removed)), h("td", { class: "n" }, `${number(each.random[1], 3)} to ${number(each.random[2], 3)}`), h("td", { class: "n" }, percent(each.positive_share, 0)), h("td", {}, verdict(each)))))),
    h("p", { class: "help" }, "To first order, removal takes the sum of the scores away. Scores of two scorers have different units. Whether the behaviour really changes, only training again shows: `aitia counterfactual`."),
  ];
}
