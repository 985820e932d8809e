// Ask a new concept: by texts, a saved concept, a feature, or picked rows. What was asked stands in the address.

import { ofRows } from "./api.js";
import { button, field, fill, h, number, select, signed, toast, visible, whole } from "./dom.js";
import { change, state } from "./state.js";

const draft = { kind: "texts", name: "", positive: "", negative: "", concept: "", autoencoder: "", feature: "0", side: "encoder", site: "", recipe: "", methods: null };

/** One text a line; or, where lines of --- stand, whole paragraphs between them. */
export function texts(area) {
  const parts = /^---\s*$/m.test(area) ? area.split(/^---\s*$/m) : area.split("\n");
  return parts.map((each) => each.trim()).filter(Boolean);
}

/** Ask the server, keep the question in the address, and give the new scores. */
export async function askQuestion(question) {
  const found = await ofRows(state.data, "ask", { question });
  const kept = state.questions.filter((each) => JSON.stringify(each) !== JSON.stringify(question));
  change({ questions: [...kept, question].slice(-8) }, { quiet: true });
  return found.scores;
}

export function drawAsk(place, known, overview, acts) {
  const about = acts.about();
  if (about.lacking || !about.methods.length) {
    fill(place, h("h2", {}, "Ask a new concept"), h("p", { class: "notice" }, `No concept can be asked of these rows. ${visible(about.lacking ?? "The store holds no activation that a fast scorer reads.")}`), cards(known, acts));
    return;
  }
  const form = h("form", { class: "ask", on: { submit: (event) => { event.preventDefault(); send(); } } });
  const status = h("p", { class: "wait", hidden: true });
  draft.methods ??= new Set([about.method]);
  if (![...draft.methods].every((name) => about.methods.some((each) => each.name === name))) draft.methods = new Set([about.method]);
  const draw = () => fill(form, fields(), rest(), status, button("Rank all rows", send, { class: "main", type: "submit" }));
  const send = async () => {
    let question;
    try { question = build(overview); } catch (error) { toast(error.message, true); return; }
    const parts = form.querySelectorAll("button, input, textarea, select");
    parts.forEach((each) => { each.disabled = true; });
    status.hidden = false;
    fill(status, draft.kind === "texts" ? "The model reads the texts, then every row gets a score. The first question loads the model and takes longer." : "Every row gets a score\u2026");
    try {
      const scores = await askQuestion(question);
      await acts.reload();
      toast(`${whole(about.count)} rows ranked by \u201c${scores[0].concept}\u201d.`);
    } catch (error) { toast(error.message, true); }
    status.hidden = true;
    parts.forEach((each) => { each.disabled = false; });
  };
  const kinds = [["texts", "Texts that I type or paste"], ["rows", "Rows that I picked"]];
  if (overview.concepts.length) kinds.push(["concept", "A saved concept"]);
  if (overview.autoencoders.length) kinds.push(["feature", "A feature of an autoencoder"]);
  const fields = () => [
    h("fieldset", {}, h("legend", {}, "What shows the concept?"), kinds.map(([value, text]) => h("label", { class: "choice" },
      h("input", { type: "radio", name: "kind", value, checked: draft.kind === value, on: { change: () => { draft.kind = value; draw(); } } }), ` ${text}`))),
    { texts: textFields, rows: rowFields, concept: conceptFields, feature: featureFields }[draft.kind](),
  ];
  const area = (side, label, help, placeholder) => {
    const made = h("textarea", { rows: 7, placeholder, spellcheck: "false" });
    made.value = draft[side];
    const count = h("span", { class: "count" });
    const said = () => { const found = texts(made.value).length; count.textContent = found === 1 ? "1 text" : `${found} texts`; };
    made.addEventListener("input", () => { draft[side] = made.value; said(); });
    said();
    return h("label", { class: "field" }, h("span", { class: "label" }, label, " ", count), made, h("span", { class: "help" }, help));
  };
  const textFields = () => [
    h("div", { class: "pair" },
      area("positive", "Texts that show it", "One text a line. For longer texts, put a line --- between them. A row in JSON is taken as training data is.", "I feel so empty today.\nNothing will ever get better."),
      area("negative", "Texts that do not", "Alike in all else: same topics, same length. What differs besides the concept is ranked too.", "I feel quite rested today.\nThings will get better soon.")),
  ];
  const rowFields = () => [state.picks.size
    ? h("p", {}, `${whole(state.picks.size)} picked rows show it. They are held against rows at even distances through the data. No model runs.`)
    : h("p", { class: "notice" }, "No row is picked. In the view Rows, tick the boxes at the left, or press x on a row, and come back.")];
  const conceptFields = () => [field("Saved concept", select([["", "Choose one"], ...overview.concepts.map((each) => [each.key, `${visible(each.name)} at ${each.site}${each.auc === null ? "" : `, held-out AUC ${each.auc.toFixed(3)}`}`])], draft.concept, (value) => { draft.concept = value; }))];
  const input = (name, properties) => { const made = h("input", { ...properties, value: draft[name] }); made.addEventListener("input", () => { draft[name] = made.value; }); return made; };
  const featureFields = () => [h("div", { class: "pair" },
    field("Autoencoder", select(overview.autoencoders.map((each) => [each, each]), draft.autoencoder ||= overview.autoencoders[0], (value) => { draft.autoencoder = value; })),
    field("Feature", input("feature", { type: "number", min: 0, step: 1 }), "Its number, from 0. The view Slices lists features that matter."),
    field("Direction", select([["encoder", "encoder: what calls the feature up"], ["decoder", "decoder: what the feature writes"]], draft.side, (value) => { draft.side = value; })))];
  const rest = () => h("details", { class: "more" }, h("summary", {}, "Name, site and scorers"), h("div", { class: "pair" },
    field("Name", input("name", { type: "text", maxlength: 80, placeholder: "for you to know it again" })),
    about.sites.length > 1 && draft.kind !== "concept" && draft.kind !== "feature" && field("Site", select([["", "the one that separates best"], ...about.sites.map((each) => [each, each])], draft.site, (value) => { draft.site = value; })),
    (draft.kind === "texts" || draft.kind === "rows") && field("Direction", select(overview.recipes.map((each) => [each, each]), draft.recipe || overview.recipe, (value) => { draft.recipe = value; }))),
  h("fieldset", {}, h("legend", {}, "Scorers"), about.methods.map((each) => h("label", { class: "choice" },
    h("input", { type: "checkbox", checked: draft.methods.has(each.name), on: { change: (event) => { if (event.target.checked) draft.methods.add(each.name); else draft.methods.delete(each.name); } } }),
    ` ${each.name}`, h("span", { class: "help" }, visible(each.about))))));
  draw();
  fill(place, h("h2", {}, "Ask a new concept"),
    h("p", { class: "lead" }, "Say what you look for, and every row is ranked by it. The scan is not repeated: the stored activations answer."),
    form, cards(known, acts));
  if (draft.kind === "texts") ofRows(state.data, "model", {}).catch(() => {});
}

function build(overview) {
  const methods = [...draft.methods];
  if (!methods.length) throw new Error("Choose at least one scorer.");
  const shared = { methods, ...(draft.name.trim() ? { name: draft.name.trim() } : {}) };
  if (draft.kind === "texts") {
    const [positive, negative] = [texts(draft.positive), texts(draft.negative)];
    if (positive.length < 2 || negative.length < 2) throw new Error("Give at least two texts that show it and two that do not.");
    return { kind: "texts", positive, negative, recipe: draft.recipe || overview.recipe, site: draft.site, ...shared };
  }
  if (draft.kind === "rows") {
    if (!state.picks.size) throw new Error("Pick at least one row first.");
    return { kind: "rows", positive: [...state.picks].sort((a, b) => a - b), recipe: draft.recipe || overview.recipe, site: draft.site, ...shared };
  }
  if (draft.kind === "concept") {
    if (!draft.concept) throw new Error("Choose a saved concept.");
    return { kind: "concept", concept: draft.concept, ...shared };
  }
  const feature = Number(draft.feature);
  if (!Number.isSafeInteger(feature) || feature < 0) throw new Error("The feature is a whole number, from 0.");
  return { kind: "feature", autoencoder: draft.autoencoder, feature, side: draft.side, ...shared };
}

/** A card for each ranking: how well the concept holds, and what can be done with it. */
function cards(known, acts) {
  if (!known.scores.length) return h("p", { class: "empty" }, "No ranking yet. Fill in the form and press \u201cRank all rows\u201d.");
  const asked = known.scores.filter((each) => each.asked).reverse(), others = known.scores.filter((each) => !each.asked);
  return [asked.length > 0 && h("h2", {}, "Asked here"), asked.map((each) => card(each, known, acts)),
    others.length > 0 && h("h2", {}, "From the files that are opened"),
    others.length > 0 && h("table", {}, h("thead", {}, h("tr", {}, ["Ranking", "Site", ""].map((name) => h("th", {}, name)))), h("tbody", {}, others.map((each) => h("tr", {},
      h("td", {}, visible(each.title)), h("td", {}, visible(each.site ?? "")), h("td", {}, button("See the rows", () => acts.see(each.key))))))),
    others.filter((each) => each.warnings?.length).map((each) => each.warnings.map((text) => h("p", { class: "warning" }, visible(text))))];
}

function card(scores, known, acts) {
  const checks = h("div", { class: "checks" });
  const made = h("article", { class: "card" },
    h("h3", {}, visible(scores.concept), h("span", { class: "note" }, ` by ${scores.method} at ${scores.site}`)),
    h("p", { class: "verdict" }, heldOut(scores)),
    scores.auc_by_site && Object.keys(scores.auc_by_site).length > 1 && h("p", { class: "help" }, "Held-out AUC at each site: ", Object.entries(scores.auc_by_site).map(([site, auc]) => `${site} ${auc.toFixed(3)}`).join(", "), "."),
    checks,
    h("div", { class: "controls" },
      button("See the rows", () => acts.see(scores.key), { class: "main" }),
      button("Compare", () => acts.compare(scores.key)),
      button("Check again with a label", () => check(true)),
      button("Save the concept", async () => {
        const name = prompt("Name of the file, without ending:", scores.concept.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[-.]+/, "").slice(0, 60) || "concept");
        if (!name) return;
        try { toast(`Saved: ${(await ofRows(state.data, "concept", { score: scores.key, name })).file}`); } catch (error) { toast(error.message, true); }
      })));
  const flags = known.columns.filter((each) => each.kind === "flag");
  const check = async (choose = false) => {
    if (choose) { drawLabels(); return; }
    fill(checks, h("p", { class: "wait" }, "Null directions are scored\u2026"));
    try {
      const found = await ofRows(state.data, "controls", { score: scores.key });
      fill(checks, controls(found));
    } catch (error) { fill(checks, h("p", { class: "notice" }, visible(error.message))); }
    if (state.label && flags.some((each) => each.name === state.label)) await labelled(state.label);
    else if (flags.length) checks.append(h("p", { class: "help" }, "For the gain over loss, gradient norm and length, check it with a label: a true-or-false column of the data."));
    else checks.append(h("p", { class: "help" }, "The data have no true-or-false column, so the gain over loss, gradient norm and length cannot be measured."));
  };
  const drawLabels = () => {
    if (!flags.length) { toast("The data have no true-or-false column.", true); return; }
    checks.append(h("div", { class: "controls" }, "Rows to be found: ", select([["", "choose a column"], ...flags.map((each) => [each.name, visible(each.name)])], "", (label) => { if (label) { change({ label }, { quiet: true }); labelled(label); } }, { "aria-label": "Label" })));
  };
  const labelled = async (label) => {
    const place = h("p", { class: "wait" }, "Labelled rows are looked for\u2026");
    checks.append(place);
    try {
      const found = await ofRows(state.data, "label", { score: scores.key, label });
      place.replaceWith(h("div", {}, labelWords(found)));
    } catch (error) { place.className = "notice"; fill(place, visible(error.message)); }
  };
  check();
  return made;
}

export function heldOut(scores) {
  if (scores.auc === null || scores.auc === undefined) return "No held-out AUC: there are no two sets of texts to tell apart. Look at the rows before you trust the order.";
  const [positive, negative] = scores.texts ?? [0, 0];
  const few = Math.min(positive, negative) < 8 ? " So few say little: give eight or more of each." : "";
  return `Held-out AUC ${scores.auc.toFixed(3)} (${positive} that show it, ${negative} that do not): the chance that one that shows it lies higher than one that does not, among those it was not fitted to.${few}`;
}

function controls(found) {
  const kinds = [...new Set(found.controls.map((each) => each.kind))];
  const lines = kinds.map((kind) => {
    const some = found.controls.filter((each) => each.kind === kind), sizes = some.map((each) => Math.abs(each.agreement ?? 0));
    return h("tr", {}, h("td", {}, `${some.length} \u00d7 ${kind}`), h("td", { class: "n" }, Math.max(...sizes).toFixed(2)), h("td", { class: "n" }, number(some.reduce((sum, each) => sum + each.spread, 0) / some.length / (found.spread || 1), 3)));
  });
  return [
    found.warnings.map((text) => h("p", { class: "warning" }, visible(text))),
    lines.length > 0 && h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Directions that mean nothing"), h("th", { class: "n" }, "Largest |Spearman| with this ranking"), h("th", { class: "n" }, "Spread of their scores, this one's = 1"))), h("tbody", {}, lines)),
    h("p", {}, "Spearman correlation with scores that know no concept: ", Object.entries(found.agreement).map(([name, value], index) => `${index ? ", " : ""}${name} ${value === null ? "\u2013" : signed(Number(value.toFixed(2)))}`).join(""), "."),
  ];
}

function labelWords(found) {
  const range = ([value, low, high]) => `${value.toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}]`;
  return [
    h("p", {}, `Rows with ${visible(found.label)}: ${whole(found.labelled)} of ${whole(found.rows)}${found.used < found.rows ? `, ${whole(found.used)} rows drawn for these figures` : ""}. AUC at finding them ${range(found.auc)}`, found.p_value === null ? "." : `; p = ${number(found.p_value, 2)} against matched null directions.`),
    h("p", {}, found.gain ? `Gain over ${found.confounds.join(", ")} (alone ${found.confounds_auc.toFixed(3)}): ${range(found.gain)}. ${found.gain[1] > 0 ? "It finds something that they do not." : "The interval reaches zero: it may find nothing that they do not."}` : `No gain: ${visible(found.why ?? "there is nothing to compare with")}.`),
  ];
}

