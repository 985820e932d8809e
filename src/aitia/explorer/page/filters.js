// Search and filters above the table. Each filter is a chip that says in words what it asks.

import { button, fill, h, select, visible, whole } from "./dom.js";
import { change, state } from "./state.js";

/** Draw them. `known`: columns and scores; `overview`: which operations there are. */
export function drawFilters(place, known, overview) {
  const search = h("input", { type: "search", id: "search", value: state.text, maxlength: 2000, placeholder: state.pattern ? "Regular expression" : "Words in the texts", "aria-label": "Search the texts" });
  let typing = null;
  const apply = () => { clearTimeout(typing); if (typing !== null) { typing = null; change({ text: search.value }); } };
  search.addEventListener("input", () => { clearTimeout(typing); typing = setTimeout(apply, 300); });
  search.addEventListener("change", apply);
  const pattern = h("input", { type: "checkbox", checked: state.pattern, on: { change: () => change({ pattern: pattern.checked }) } });
  const reading = known.texts.state === "reading" ? `Texts are being read: ${whole(known.texts.read)} rows so far.` : known.texts.state === "absent" ? "No texts: " + known.texts.reason : "";
  fill(place,
    h("div", { class: "searching" },
      h("label", { class: "inline" }, h("span", { class: "label" }, "Search (/)"), search),
      h("label", { class: "inline" }, pattern, " regular expression"),
      select([["both", "in prompt and response"], ["prompt", "in the prompt"], ["response", "in the response"]], state.part, (part) => change({ part }), { "aria-label": "Where to search" }),
      adder(known, overview),
      state.picks.size > 0 && h("label", { class: "inline" }, h("input", { type: "checkbox", checked: state.onlyPicks, on: { change: () => change({ onlyPicks: !state.onlyPicks }) } }), ` only the ${whole(state.picks.size)} picked`),
    ),
    h("div", { class: "chips" }, state.conditions.map((condition, index) => chip(condition, index, known)),
      (state.conditions.length > 1 || (state.conditions.length > 0 && state.text)) ? button("Clear all", () => change({ conditions: [], text: "" }), { class: "plain" }) : null),
    reading && h("p", { class: "notice" }, visible(reading)));
}

function titleOf(name, known) {
  const scores = known.scores.find((each) => each.key === name);
  return scores ? scores.title : TITLES[name] ?? name;
}
const TITLES = { prompt_tokens: "prompt length", response_tokens: "response length", row: "row number" };

function chip(condition, index, known) {
  const words = `${titleOf(condition.column, known)} ${condition.operation} ${condition.value}${condition.operation?.startsWith("percentile") ? " %" : ""}`;
  return h("span", { class: "chip" }, visible(words), h("button", {
    type: "button", "aria-label": `Take off: ${visible(words)}`, title: "Take this filter off",
    on: { click: () => change({ conditions: state.conditions.filter((_, other) => other !== index) }) },
  }, "\u00d7"));
}

function adder(known, overview) {
  const box = h("details", { class: "adder" }, h("summary", {}, "Add a filter"));
  const body = h("div", { class: "body" });
  box.append(body);
  const all = [
    ...known.scores.map((each) => ({ name: each.key, kind: "scores", title: each.title })),
    ...known.columns.map((each) => ({ ...each, title: TITLES[each.name] ?? each.name })),
  ];
  if (!all.length) return null;
  let column = all.find((each) => each.kind === "flag") ?? all[0], operation, value;
  const draw = () => {
    const operations = overview.operations.filter((each) => ({
      scores: each.startsWith("percentile") || each.startsWith("at "), number: each === "is" || each.startsWith("at "),
      flag: each === "is", words: ["is", "is not", "contains"].includes(each),
    })[column.kind]);
    if (!operations.includes(operation)) operation = operations[0];
    let input;
    if (column.kind === "flag") input = select([["true", "true"], ["false", "false"]], value = "true", (given) => { value = given; }, { "aria-label": "Value" });
    else if (column.kind === "words" && column.words && operation !== "contains") input = select(column.words.map((each) => [each, visible(each)]), value = column.words[0], (given) => { value = given; }, { "aria-label": "Value" });
    else {
      input = h("input", { type: column.kind === "words" ? "text" : "number", step: "any", size: 12, "aria-label": "Value", value: value ?? "" });
      input.addEventListener("input", () => { value = input.value; });
      input.addEventListener("keydown", (event) => { if (event.key === "Enter") add(); });
    }
    fill(body, h("p", { class: "help" }, "Show only rows for which"),
      select(all.map((each) => [each.name, visible(each.title)]), column.name, (name) => { column = all.find((each) => each.name === name); value = undefined; draw(); }, { "aria-label": "Column" }),
      select(operations.map((each) => [each, each]), operation, (given) => { operation = given; value = undefined; draw(); }, { "aria-label": "Comparison" }),
      input, button("Add", add, { class: "main" }));
  };
  const add = () => {
    if (value === undefined || value === "") return;
    const given = column.kind === "words" || column.kind === "flag" ? value : Number(value);
    change({ conditions: [...state.conditions, { column: column.name, operation, value: given }] });
  };
  draw();
  return box;
}
