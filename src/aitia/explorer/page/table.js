// The table of rows: a million lines, of which only those in sight are in the page.

import { Refused, ofRows } from "./api.js";
import { fill, h, number, said, signed, toast, visible, whole } from "./dom.js";
import { change, query, state } from "./state.js";

const LINE = 54, BLOCK = 100, MOST_BLOCKS = 60;
const TALLEST = 8_000_000; // browsers cut off what is higher than some 16 to 33 million pixels

export class Table {
  /** place: an element; columns(): what is shown; open(position), pick(position, on): acts. */
  constructor(place, { columns, open, pick, counted }) {
    this.columns = columns; this.open = open; this.pick = pick; this.counted = counted;
    this.blocks = new Map(); this.matched = 0; this.at = -1; this.asking = new AbortController();
    this.head = h("div", { class: "head", role: "row" });
    this.space = h("div", { class: "space" });
    this.lines = h("div", { class: "lines" });
    this.empty = h("div", { class: "empty", hidden: true });
    this.scroll = h("div", { class: "scroll", tabindex: "0", role: "grid", "aria-label": "Training rows" }, this.space, this.lines, this.empty);
    fill(place, this.head, this.scroll);
    this.scroll.addEventListener("scroll", () => this.later());
    new ResizeObserver(() => this.later()).observe(this.scroll);
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  /** Ask again: another filter, order, or columns. */
  async refresh({ keep = false } = {}) {
    this.asking.abort();
    this.asking = new AbortController();
    const signal = this.asking.signal;
    this.blocks.clear();
    if (!keep) { this.scroll.scrollTop = 0; this.at = -1; }
    this.drawHead();
    try {
      await this.block(0, signal);
      this.problem = null;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.problem = error.message;
      this.matched = 0;
    }
    this.counted(this.matched, this.problem);
    this.draw();
  }

  block(index, signal = this.asking.signal) {
    const there = this.blocks.get(index);
    if (there) { this.blocks.delete(index); this.blocks.set(index, there); return there.promise; }
    const shown = this.columns(true).map((each) => each.key).filter(Boolean);
    const entry = { rows: null };
    entry.promise = ofRows(state.data, "page", { query: query(), offset: index * BLOCK, limit: BLOCK, columns: shown }, signal)
      .then((found) => { entry.rows = found.rows; this.matched = found.matched; return found.rows; });
    this.blocks.set(index, entry);
    entry.promise.then(() => { if (signal === this.asking.signal) this.later(); }, (error) => {
      this.blocks.delete(index);
      if (!(error instanceof Refused)) return;
      if (index > 0) toast(error.message, true);
    });
    if (this.blocks.size > MOST_BLOCKS) this.blocks.delete(this.blocks.keys().next().value);
    return entry.promise;
  }

  line(index) {
    const block = this.blocks.get(Math.floor(index / BLOCK));
    return block?.rows?.[index % BLOCK] ?? null;
  }

  get height() { return Math.min(this.matched * LINE, TALLEST); }
  get sight() { return Math.max(1, Math.floor(this.scroll.clientHeight / LINE)); }

  /** The number of the first line in sight, with a fraction. */
  get first() {
    const far = this.height - this.scroll.clientHeight, most = this.matched - this.scroll.clientHeight / LINE;
    return far <= 0 || most <= 0 ? 0 : (this.scroll.scrollTop / far) * most;
  }

  show(index) {
    const first = this.first, sight = this.sight;
    let wanted = null;
    if (index < first) wanted = index; else if (index >= first + sight - 0.2) wanted = index - sight + 1.2;
    if (wanted !== null) {
      const far = this.height - this.scroll.clientHeight, most = this.matched - this.scroll.clientHeight / LINE;
      this.scroll.scrollTop = most <= 0 ? 0 : (wanted / most) * far;
    }
  }

  drawHead() {
    const columns = this.columns();
    this.template = columns.map((each) => each.width).join(" ");
    this.head.style.setProperty("grid-template-columns", this.template);
    fill(this.head, columns.map((column) => {
      const sorted = column.sort !== undefined && state.sort === column.sort;
      const up = state.up || column.sort === ""; // the order of the data has one direction
      const order = sorted ? (up ? "ascending" : "descending") : "none";
      const name = [h("span", { class: "name" }, visible(column.title)), column.note && h("span", { class: "note" }, visible(column.note))];
      return h("div", { role: "columnheader", "aria-sort": order, class: column.class ?? "" },
        column.sort === undefined ? name : h("button", {
          type: "button", title: column.sort === "" ? "The order of the data" : sorted ? "Turn the order around" : `Sort by ${visible(column.title)}`,
          on: { click: () => change({ sort: column.sort, up: sorted && column.sort !== "" ? !state.up : false }) },
        }, name, h("span", { class: "arrow" }, sorted ? (up ? "\u25b2" : "\u25bc") : "")));
    }));
  }

  draw() {
    this.space.style.height = `${this.height}px`;
    this.scroll.setAttribute("aria-rowcount", String(this.matched));
    this.empty.hidden = this.matched > 0 || this.blocks.size === 0;
    if (!this.empty.hidden) {
      fill(this.empty, h("p", {}, this.problem ? visible(this.problem) : "No row matches. Take a filter off, or search for something else."));
    }
    const first = this.first, from = Math.max(0, Math.floor(first) - 4);
    const to = Math.min(this.matched, Math.ceil(first) + this.sight + 6);
    for (let block = Math.floor(from / BLOCK); block * BLOCK < to; block += 1) {
      if (!this.blocks.has(block)) this.block(block).catch(() => {});
    }
    const columns = this.columns(), focused = this.scroll.contains(document.activeElement);
    const made = [];
    for (let index = from; index < to; index += 1) made.push(this.drawLine(index, columns, (index - first) * LINE));
    this.lines.style.transform = `translateY(${this.scroll.scrollTop}px)`;
    fill(this.lines, made);
    if (focused && document.activeElement === document.body) this.scroll.focus({ preventScroll: true });
  }

  drawLine(index, columns, top) {
    const row = this.line(index);
    const chosen = index === this.at, opened = row !== null && row.position === state.row;
    const made = h("div", {
      class: `line${chosen ? " at" : ""}${opened ? " opened" : ""}`, role: "row", "aria-rowindex": index + 1,
      "aria-selected": String(chosen), style: { transform: `translateY(${top}px)`, "grid-template-columns": this.template },
    }, row === null ? h("div", { class: "wait" }, "\u2026") : columns.map((each) => h("div", { role: "gridcell", class: each.class ?? "" }, each.cell(row, index))));
    if (row !== null) {
      made.addEventListener("click", (event) => {
        if (event.target.closest("input, button, label")) return;
        this.at = index;
        this.open(row.position);
      });
    }
    return made;
  }

  /** Move by lines; open what stands there where a row is open already. */
  async move(steps, absolute = null) {
    if (!this.matched) return;
    const to = Math.max(0, Math.min(this.matched - 1, absolute ?? (this.at < 0 ? 0 : this.at + steps)));
    this.at = to;
    this.show(to);
    this.draw();
    if (state.row !== null) {
      await this.block(Math.floor(to / BLOCK));
      if (this.at === to) this.open(this.line(to).position);
    }
  }

  enter() { const row = this.line(this.at); if (row) this.open(row.position); }
  toggle() { const row = this.line(this.at); if (row) this.pick(row.position, !state.picks.has(row.position)); }
}

/** A score with a bar from the middle, and its percentile. */
export function scoreCell(value, percentile, largest) {
  if (value === null || value === undefined) return h("span", { class: "none", title: "This row was not scored." }, "\u2013");
  const share = largest ? Math.min(1, Math.abs(value) / largest) : 0;
  return h("div", { class: "score", title: `${number(value, 8)}; higher than or equal to ${percentile.toFixed(2)} % of the rows` },
    h("span", { class: value >= 0 ? "up" : "down" }, signed(value)),
    h("span", { class: "bar" }, h("i", { class: value >= 0 ? "up" : "down", style: { width: `${50 * share}%` } })),
    h("span", { class: "percentile" }, `${percentile >= 99.95 && percentile < 100 ? "99.9+" : percentile.toFixed(1)} %`));
}

export function textCell(row) {
  if (row.response === undefined) return h("span", { class: "none" }, visible(row.location));
  return h("div", { class: "text" },
    h("div", { class: "prompt" }, row.prompt ? said(oneLine(row.prompt)) : h("span", { class: "none" }, "no prompt")),
    h("div", { class: "response" }, said(oneLine(row.response))));
}

function oneLine(text) { return text.slice(0, 300).replace(/[\n\r\t]+/g, " "); }

export function lengthCell(row) { return h("span", {}, whole(row.response_tokens)); }
