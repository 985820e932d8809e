// One row, opened: its turns, where in it the score comes from, its neighbours, and all its scores.

import { ofRows } from "./api.js";
import { button, fill, h, number, said, select, signed, toast, visible, whole } from "./dom.js";
import { change, state } from "./state.js";
import { textCell } from "./table.js";

let asked = 0;

/** Draw the row of the state into the panel. `known`: the columns as the server told them; `acts`: what buttons do. */
export async function drawRow(place, known, acts) {
  const mine = ++asked, position = state.row;
  place.hidden = position === null;
  document.body.classList.toggle("opened", position !== null);
  if (position === null) { fill(place); return; }
  fill(place, h("p", { class: "wait" }, "Reading the row\u2026"));
  let row;
  try { row = await ofRows(state.data, "row", { position }); } catch (error) {
    if (mine === asked) fill(place, head(position, null, acts), h("p", { class: "bad" }, visible(error.message)));
    return;
  }
  if (mine !== asked) return;
  const parts = h("div", { class: "turns" });
  const shares = h("div", { class: "shares" });
  const near = h("div", { class: "near" });
  fill(place, head(position, row, acts),
    h("p", { class: "facts" }, `${whole(row.prompt_tokens)} prompt tokens, ${whole(row.response_tokens)} response tokens, from `, said(row.location), ", id ", said(row.id)),
    parts, sharesControls(shares, known, row),
    h("h3", {}, "Scores"), scores(row),
    extra(row), neighboursControls(near, known, row, acts));
  drawTurns(parts, row);
}

function head(position, row, acts) {
  return h("div", { class: "rowhead" }, h("h2", {}, `Row ${whole(position)}`),
    row && button(state.picks.has(position) ? "Picked \u2713 (x)" : "Pick (x)", () => { acts.pick(position, !state.picks.has(position)); }, { class: "pick", "aria-pressed": String(state.picks.has(position)) }),
    row && acts.canAsk() && button("More like this", () => acts.like(position), { title: "Rank all rows by how much they are like this one, from the stored activations. No model runs." }),
    button("Close (Esc)", () => change({ row: null }), { class: "close" }));
}

function drawTurns(place, row) {
  if (row.turns === null) {
    const why = row.texts.state === "reading" ? "The texts are still being read. Open the row again in a moment." : row.texts.reason;
    fill(place, h("p", { class: "notice" }, `The text of this row is not shown. ${visible(why)}`));
    return;
  }
  const last = row.turns.map((turn) => turn.trained).lastIndexOf(true);
  const before = row.turns.slice(0, Math.max(0, last)).filter((turn) => !turn.trained);
  const template = before.filter((turn) => turn.role === "system" || turn.role === "developer");
  const asks = before.filter((turn) => !template.includes(turn));
  const long = asks.reduce((sum, turn) => sum + turn.text.length, 0) > 1200;
  fill(place,
    template.length > 0 && fold("Instructions of the system", template, false),
    asks.length > 0 && (long ? fold(`Prompt, ${asks.length === 1 ? "1 turn" : `${asks.length} turns`}`, asks, false) : asks.map(turn)),
    row.turns.filter((each) => each.trained || row.turns.indexOf(each) > last).map(turn));
}

function fold(title, turns, open) {
  const length = turns.reduce((sum, each) => sum + each.length, 0);
  return h("details", { open }, h("summary", {}, `${title} (${whole(length)} characters)`), turns.map(turn));
}

function turn(each) {
  const cut = each.length > each.text.length;
  return h("div", { class: `turn${each.trained ? " trained" : ""}` },
    h("div", { class: "role" }, said(each.role), each.trained ? h("span", { class: "tag" }, "trained on") : ""),
    said(each.text, { class: "body" }),
    cut && h("p", { class: "notice" }, `Cut here: ${whole(each.text.length)} of ${whole(each.length)} characters are shown.`));
}

function scores(row) {
  if (!row.scores.length) return h("p", { class: "notice" }, "No scores yet. Ask a concept to get some.");
  return h("table", {}, h("thead", {}, h("tr", {}, ["Scorer", "Score", "Rank", "Percentile"].map((name, place) => h("th", { class: place ? "n" : "" }, name)))),
    h("tbody", {}, row.scores.map((each) => h("tr", { class: each.key === state.sort ? "at" : "" },
      h("td", {}, visible(each.title)), h("td", { class: `n ${each.value >= 0 ? "up" : "down"}` }, signed(each.value)),
      h("td", { class: "n" }, each.value === null ? "\u2013" : whole(each.rank)), h("td", { class: "n" }, each.value === null ? "\u2013" : each.percentile.toFixed(1))))));
}

function extra(row) {
  const names = Object.keys(row.extra);
  if (!names.length) return null;
  return [h("h3", {}, "Other columns"), h("dl", {}, names.map((name) => [h("dt", {}, said(name)), h("dd", {}, said(String(row.extra[name] ?? "none")))]))];
}

function sharesControls(place, known, row) {
  const able = known.scores.filter((each) => each.shares);
  if (row.turns === null) return null;
  if (!able.length) return h("p", { class: "help" }, "To see which tokens carry the score, ask a concept: scores from a file keep only the total.");
  const first = able.some((each) => each.key === state.sort) ? state.sort : able[0].key;
  let chosen = first;
  const show = async () => {
    fill(place, h("p", { class: "wait" }, "The model reads the row\u2026"));
    try {
      const found = await ofRows(state.data, "shares", { position: row.position, score: chosen });
      fill(place, drawShares(found.tokens));
    } catch (error) { fill(place, h("p", { class: "notice" }, visible(error.message))); }
  };
  return [h("h3", {}, "Why it scored so"),
    h("div", { class: "controls" }, select(able.map((each) => [each.key, visible(each.title)]), first, (value) => { chosen = value; }, { "aria-label": "Scores whose parts are shown" }),
      button("Show each token's share", show)), place];
}

function drawShares(tokens) {
  const start = tokens.findIndex((token) => token.response);
  const largest = Math.max(...tokens.map((token) => Math.abs(token.share)), 1e-30);
  const draw = (token) => h("span", {
    class: token.share > 0 ? "token up" : token.share < 0 ? "token down" : "token",
    title: token.response ? `${signed(token.share)} of the score` : "prompt, not trained on",
    style: { "--share": `${Math.round(70 * Math.abs(token.share) / largest)}%` },
  }, visible(token.text));
  const before = tokens.slice(0, Math.max(0, start)), rest = tokens.slice(Math.max(0, start));
  return [
    h("p", { class: "help" }, "Orange tokens raise the score, blue ones lower it. The shares add up to the score."),
    before.length > 0 && h("details", {}, h("summary", {}, `Prompt and template, ${whole(before.length)} tokens`), h("bdi", { dir: "auto", class: "tokens" }, before.map(draw))),
    h("bdi", { dir: "auto", class: "tokens" }, rest.slice(0, 4000).map(draw)),
    rest.length > 4000 && h("p", { class: "notice" }, `${whole(rest.length - 4000)} more tokens are not shown.`),
  ];
}

function neighboursControls(place, known, row, acts) {
  const about = acts.about();
  if (!about.sites.length || about.lacking) return null;
  const activations = about.activations.filter((each) => !each.includes(".") );
  let site = about.sites[about.sites.length - 1], activation = activations.includes("response") ? "response" : activations[0];
  const show = async () => {
    fill(place, h("p", { class: "wait" }, "Comparing with all rows\u2026"));
    try {
      const found = await ofRows(state.data, "neighbours", { position: row.position, site, activation });
      fill(place, found.rows.map((each) => h("button", { type: "button", class: "neighbour", on: { click: () => change({ row: each.position }, { push: true }) } },
        h("span", { class: "n" }, each.cosine.toFixed(3)), textCell(each))));
    } catch (error) { toast(error.message, true); fill(place); }
  };
  return [h("h3", {}, "Nearest rows"), h("p", { class: "help" }, "By the cosine of the stored activations, each less the mean of all rows."),
    h("div", { class: "controls" },
      about.sites.length > 1 && select(about.sites.map((each) => [each, each]), site, (value) => { site = value; }, { "aria-label": "Site" }),
      activations.length > 1 && select(activations.map((each) => [each, each]), activation, (value) => { activation = value; }, { "aria-label": "Activation" }),
      button("Find the nearest rows", show)), place];
}
