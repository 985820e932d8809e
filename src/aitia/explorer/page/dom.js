// Elements, numbers and texts. Text from the training data becomes text nodes and nothing else.

/** An element. Properties: `class`, `on` (event -> listener), `style` (set one by one), else attributes. */
export function h(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") made.className = value;
    else if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
    else if (name === "style") for (const [each, set] of Object.entries(value)) made.style.setProperty(each, set);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "hidden") made[name] = value;
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

/** Put children in the place of those that are there. */
export function fill(place, ...children) {
  place.replaceChildren(...children.flat(Infinity).filter((each) => each !== null && each !== undefined && each !== false));
  return place;
}

const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/** A text in which characters that nobody can see, or that turn the text around, are written out. */
export function visible(text) {
  return String(text).replace(HIDDEN, (each) => `\u27e6U+${each.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e7`);
}

/** Training text as an element of its own direction, so that it cannot turn around what stands beside it. */
export function said(text, properties = {}) {
  return h("bdi", { dir: "auto", ...properties }, visible(text));
}

/** A number with four significant digits. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "\u2013";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace("e+", "e");
  return Number(value.toPrecision(digits)).toString();
}

/** A number with its sign. */
export function signed(value) {
  return value > 0 ? `+${number(value)}` : number(value).replace("-", "\u2212");
}

export function whole(value) {
  return Number(value).toLocaleString("en-US");
}

export function percent(value, digits = 1) {
  return value === null || value === undefined ? "\u2013" : `${(100 * value).toFixed(digits)} %`;
}

/** A labelled control. */
export function field(label, control, help = null) {
  return h("label", { class: "field" }, h("span", { class: "label" }, label), control, help && h("span", { class: "help" }, help));
}

export function select(options, chosen, act, properties = {}) {
  const made = h("select", { ...properties, on: { change: () => act(made.value) } },
    options.map(([value, text]) => h("option", { value }, text)));
  made.value = chosen ?? "";
  return made;
}

export function button(text, act, properties = {}) {
  return h("button", { type: "button", ...properties, on: { click: act } }, text);
}

let hiding;
/** A message that goes away by itself. */
export function toast(text, bad = false) {
  const place = document.getElementById("toast");
  place.className = bad ? "bad" : "";
  fill(place, visible(text));
  place.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { place.hidden = true; }, bad ? 12000 : 5000);
}
