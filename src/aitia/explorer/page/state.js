// What is seen, kept in the part of the address from # on: a link to it, or a new start, shows the same.

const PLAIN = { view: "rows", data: 0, sort: "", up: false, text: "", pattern: false, part: "both", row: null, x: "", y: "", label: "" };
const MOST = 60000;

export const state = { ...PLAIN, conditions: [], shown: [], picks: new Set(), onlyPicks: false, questions: [] };
const listeners = new Set();
export const onChange = (act) => listeners.add(act);

/** Change the state, write it into the address, and tell whoever draws it. */
export function change(changes, { push = false, quiet = false } = {}) {
  Object.assign(state, changes);
  write(push);
  if (!quiet) for (const act of listeners) act(changes);
}

export function write(push = false) {
  const found = new URLSearchParams();
  for (const [name, usual] of Object.entries(PLAIN)) if (state[name] !== usual && state[name] !== null) found.set(name, state[name]);
  if (state.conditions.length) found.set("where", JSON.stringify(state.conditions));
  if (state.shown.length) found.set("shown", JSON.stringify(state.shown));
  if (state.picks.size) found.set("picks", ranges(state.picks));
  if (state.onlyPicks) found.set("only", "1");
  if (state.questions.length) found.set("ask", JSON.stringify(state.questions));
  let text = found.toString();
  if (text.length > MOST) { found.delete("ask"); text = found.toString(); }
  if (text.length > MOST) { found.delete("picks"); text = found.toString(); }
  const place = `#${text}`;
  if (place === location.hash || (text === "" && location.hash === "")) return;
  history[push ? "pushState" : "replaceState"](null, "", text === "" ? location.pathname : place);
}

/** Read the state from the address. */
export function read() {
  const found = new URLSearchParams(location.hash.slice(1));
  for (const [name, usual] of Object.entries(PLAIN)) {
    const given = found.get(name);
    if (given === null) state[name] = usual;
    else if (typeof usual === "boolean") state[name] = given === "true";
    else if (typeof usual === "number" || name === "row") state[name] = Number.isSafeInteger(Number(given)) ? Number(given) : usual;
    else state[name] = given;
  }
  state.conditions = list(found.get("where")).filter((each) => each && typeof each === "object");
  state.shown = list(found.get("shown")).filter((each) => typeof each === "string");
  state.questions = list(found.get("ask")).filter((each) => each && typeof each === "object");
  state.picks = new Set(positions(found.get("picks") ?? ""));
  state.onlyPicks = found.get("only") === "1";
}

function list(text) {
  try { const found = JSON.parse(text ?? "[]"); return Array.isArray(found) ? found : []; } catch { return []; }
}

/** Positions as ranges: 1,4-9. */
export function ranges(picks) {
  const sorted = [...picks].sort((a, b) => a - b), found = [];
  for (let i = 0; i < sorted.length; i += 1) {
    let j = i;
    while (j + 1 < sorted.length && sorted[j + 1] === sorted[j] + 1) j += 1;
    found.push(j > i ? `${sorted[i]}-${sorted[j]}` : `${sorted[i]}`);
    i = j;
  }
  return found.join(",");
}

function positions(text) {
  const found = [];
  for (const each of text.split(",")) {
    const parts = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(each);
    if (!parts) continue;
    for (let i = Number(parts[1]); i <= Number(parts[2] ?? parts[1]) && found.length < 200000; i += 1) found.push(i);
  }
  return found;
}

/** The query that the state stands for. */
export function query() {
  return {
    text: state.text, pattern: state.pattern, part: state.part, conditions: state.conditions,
    among: state.onlyPicks ? [...state.picks] : null, sort: state.sort, descending: !state.up,
  };
}
