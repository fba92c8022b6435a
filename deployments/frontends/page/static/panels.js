// What is told beside the picture: the table of boxes, the classes, the time of each stage, the model's card.

import { paint } from "./stage/colours.js";

const MOST_ROWS = 500; // a table of thousands stops the page for seconds

const STAGE_WORDS = {
  queue: "wait for engine",
  rest: "boxes",
  travel: "network",
};

/** Makes an element with a text, or with children. */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function swatch(classId) {
  const made = element("span", "swatch");
  paint(made, classId);
  return made;
}

/**
 * Fills the table: one row a box, with a button in it, so that a keyboard can walk through them.
 *
 * @param {HTMLElement} body
 * @param {object[]} boxes of the answer, the most confident first
 * @param {Set<number>} visible indexes of those to list; the first `MOST_ROWS` are
 * @returns {number} how many are listed
 */
export function fillRows(body, boxes, visible) {
  const listed = [...visible].slice(0, MOST_ROWS);
  body.replaceChildren(
    ...listed.map((index) => {
      const box = boxes[index];
      const button = element("button", "", swatch(box.class_id), box.class_name);
      button.type = "button";
      button.tabIndex = -1; // one row is a tab stop, arrow keys reach the others
      const row = element(
        "tr",
        "",
        element("td", "", button),
        element("td", "", box.confidence.toFixed(2)),
        element("td", "", `${Math.round(box.x1)}, ${Math.round(box.y1)}`),
        element("td", "", `${Math.round(box.x2 - box.x1)} × ${Math.round(box.y2 - box.y1)}`),
      );
      row.dataset.index = index;
      return row;
    }),
  );
  return listed.length;
}

/** One tick box for each class that the picture has; returns class id → its counter. */
export function fillClasses(fieldset, boxes, switchedOff) {
  const names = new Map([...boxes].sort((a, b) => a.class_id - b.class_id).map((box) => [box.class_id, box.class_name]));
  const counters = new Map();
  const labels = [...names].map(([id, name]) => {
    const input = element("input");
    input.type = "checkbox";
    input.value = id;
    input.checked = !switchedOff.has(id);
    counters.set(id, element("span", "count"));
    return element("label", "chip", input, swatch(id), name, counters.get(id));
  });
  fieldset.replaceChildren(fieldset.firstElementChild, ...labels);
  return counters;
}

/** Draws the stages one after the other along the time that the whole took. */
export function fillStages(list, timing, roundTrip) {
  const { total, ...stages } = timing;
  const known = Object.values(stages).reduce((sum, part) => sum + part, 0);
  stages.rest = Math.max(0, total - known);
  stages.travel = Math.max(0, roundTrip - total);
  const whole = Math.max(roundTrip, total);
  let start = 0;
  const rows = Object.entries(stages).map(([name, milliseconds]) => {
    const lapse = element("span", "lapse");
    lapse.style.setProperty("--start", `${(100 * start) / whole}%`);
    lapse.style.setProperty("--size", `${(100 * milliseconds) / whole}%`);
    start += milliseconds;
    const track = element("dd", "track", lapse);
    track.ariaHidden = true;
    const words = element("dt", "", STAGE_WORDS[name] ?? name);
    return element("div", name === "travel" ? "outside" : "", words, track, element("dd", "", inWords(milliseconds)));
  });
  const sum = element("div", "sum", element("dt", "", "all"), element("dd"), element("dd", "", inWords(whole)));
  list.replaceChildren(...rows, sum);
}

const inWords = (milliseconds) => `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;

/** Writes the model's card. */
export function fillCard(list, card) {
  const { limits } = card;
  const classes = Object.entries(card.classes).map(([id, name]) => element("li", "", swatch(Number(id)), name));
  const lines = [
    ["name", card.name],
    ["engine", card.engine],
    ["input", `${card.input.width} × ${card.input.height} px`],
    ["batch", `up to ${card.batch_size}`],
    ["confidence", `${card.confidence} by default`],
    ["largest picture", `${(limits.max_picture_bytes / 2 ** 20).toFixed(0)} MiB, ${(limits.max_picture_pixels / 1e6).toFixed(0)} megapixels`],
    ["one request", `up to ${limits.max_pictures} pictures, ${limits.timeout_s} s`],
    [`${classes.length} classes`, classes.length ? element("ul", "names", ...classes) : "none named"],
  ];
  list.replaceChildren(...lines.flatMap(([term, text]) => [element("dt", "", term), element("dd", "", text)]));
}
