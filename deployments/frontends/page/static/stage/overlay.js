// The boxes over the picture. They lie in percent of it and so follow its size; labels keep theirs.

import { paint } from "./colours.js";
import { area, placeLabels } from "./labels.js";

const VISIBLE = 0.5; // visibility of a keypoint from which on it is shown, as in drawn pictures

export class Overlay {
  /**
   * @param {HTMLElement} element lies exactly over the picture
   * @param {(index: number | null, chosen: boolean) => void} onPoint a box was pointed at (or chosen), or left
   */
  constructor(element, onPoint) {
    this.element = element;
    this.items = [];
    const boxUnder = (event) => (event.target.dataset.index ? Number(event.target.dataset.index) : null);
    element.addEventListener("pointerover", (event) => onPoint(boxUnder(event), false));
    element.addEventListener("pointerleave", () => onPoint(null, false));
    element.addEventListener("click", (event) => onPoint(boxUnder(event), true));
    new ResizeObserver(() => this.#placeLabels()).observe(element);
  }

  /** Makes the boxes of one answer, all of them; `filter` hides some. */
  show(boxes, { width, height }) {
    this.items = boxes.map((box, index) => {
      const frame = document.createElement("div");
      frame.className = "box";
      frame.dataset.index = index;
      const { x, y, across, down } = unturned(box);
      frame.style.left = `${(100 * x) / width}%`;
      frame.style.top = `${(100 * y) / height}%`;
      frame.style.width = `${(100 * across) / width}%`;
      frame.style.height = `${(100 * down) / height}%`;
      if (box.corners) frame.style.transform = `rotate(${box.angle}rad)`;
      const label = document.createElement("span");
      label.className = "label";
      label.textContent = `${box.class_name} ${box.confidence.toFixed(2)}`;
      paint(frame, box.class_id);
      paint(label, box.class_id);
      const points = (box.keypoints ?? []).filter(([, , visibility]) => visibility >= VISIBLE).map(([px, py]) => {
        const point = document.createElement("i");
        point.className = "keypoint";
        point.style.left = `${(100 * px) / width}%`;
        point.style.top = `${(100 * py) / height}%`;
        paint(point, box.class_id);
        return point;
      });
      return { frame, label, points, left: box.x1 / width, top: box.y1 / height, right: box.x2 / width, bottom: box.y2 / height };
    });
    // A small box inside a large one comes later, so that a pointer can reach it.
    const share = (item) => area([item.right - item.left, item.bottom - item.top]);
    const frames = this.items.toSorted((a, b) => share(b) - share(a)).map((item) => item.frame);
    const points = this.items.flatMap((item) => item.points);
    this.element.replaceChildren(...frames, ...points, ...this.items.map((item) => item.label));
  }

  /** Shows only these boxes. */
  filter(visible) {
    this.items.forEach((item, index) => {
      for (const part of parts(item)) part.hidden = !visible.has(index);
    });
    this.#placeLabels();
  }

  /** Brings one box out, or none (null). */
  highlight(index) {
    this.element.classList.toggle("one", index !== null);
    this.items.forEach((item, i) => {
      for (const part of parts(item)) part.classList.toggle("chosen", i === index);
    });
  }

  /** Moves the labels to their places; one without a free place is left out until its box is pointed at. */
  #placeLabels() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const shown = this.items.filter((item) => !item.frame.hidden);
    for (const item of shown) {
      item.spot = { left: item.left * width, top: item.top * height, right: item.right * width, bottom: item.bottom * height };
      item.size = [item.label.offsetWidth, item.label.offsetHeight];
    }
    placeLabels(shown, width, height);
    for (const { label, place, spare } of shown) {
      label.classList.toggle("spare", spare);
      label.style.left = `${place.left}px`;
      label.style.top = `${place.top}px`;
    }
  }
}

/** The elements of one box. */
const parts = ({ frame, label, points }) => [frame, label, ...points];

/** A box before it is turned about its centre; an upright one is itself. */
function unturned({ x1, y1, x2, y2, corners }) {
  if (!corners) return { x: x1, y: y1, across: x2 - x1, down: y2 - y1 };
  const [[ax, ay], [bx, by], [cx, cy]] = corners; // the first two lie along its width, the first and third are opposite
  const across = Math.hypot(bx - ax, by - ay);
  const down = Math.hypot(cx - bx, cy - by);
  return { x: (ax + cx - across) / 2, y: (ay + cy - down) / 2, across, down };
}
