// The viewer: a canvas that shows the part of a large ground that is in sight, and the boxes there.

import { Camera } from "./camera.js";
import { listen } from "./gestures.js";
import { Shapes } from "./shapes.js";

const SEEN = 16; // CSS pixels of an object's longer side at which it can be told what it is

/**
 * @typedef {object} Ground what lies under the boxes
 * @property {{x: number, y: number, width: number, height: number}} bounds
 * @property {number} most largest scale, in CSS pixels per unit
 * @property {() => void} changed set by the viewer; the ground calls it when there is more to draw
 * @property {(x: number, y: number) => string} where a point is, in words
 * @property {(context: CanvasRenderingContext2D, camera: Camera, ratio: number) => void} draw
 * @property {(context: CanvasRenderingContext2D, camera: Camera, ink: string, paper: string) => void} [drawOver]
 *     over the boxes, in the colours of writing and of what it stands on
 * @property {() => void} close gives its memory back
 */

export class Viewer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLElement} readout tells where the pointer is
   * @param {(index: number | null, chosen: boolean) => void} onPoint a box was pointed at (or chosen), or left
   */
  constructor(canvas, readout, onPoint) {
    this.canvas = canvas;
    this.readout = readout;
    this.camera = new Camera();
    this.ground = null;
    this.shapes = null;
    this.pointed = null;
    this.moved = listen(canvas, this.camera, {
      move: () => this.redraw(),
      point: (at, chosen) => this.#point(at, chosen, onPoint),
    });
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  /**
   * Shows a ground, whole if it is another than before.
   *
   * @param {Ground} ground
   * @param {import("./shapes.js").Shape[]} shapes none is visible until `filter`
   */
  show(ground, shapes) {
    if (ground !== this.ground) {
      this.ground = ground;
      ground.changed = () => this.redraw();
      this.camera.show(ground.bounds, ground.most);
      this.moved();
    }
    this.shapes = new Shapes(shapes, ground.bounds);
    this.redraw();
  }

  /** Shows only the boxes of these indexes. */
  filter(visible) {
    if (this.shapes) this.shapes.visible = visible;
    this.redraw();
  }

  /** Brings one box out, or none (null). */
  highlight(index) {
    if (!this.shapes || this.shapes.chosen === index) return;
    this.shapes.chosen = index;
    this.redraw();
  }

  /** Brings a box into sight, near enough to be seen; one that is seen already stays where it is. */
  reveal(index) {
    const shape = this.shapes?.find(index);
    if (!shape) return;
    const { camera } = this;
    const { left, top, right, bottom } = camera.sight;
    const side = Math.max(shape.right - shape.left, shape.bottom - shape.top);
    const near = camera.scale * side >= SEEN;
    if (near && shape.left >= left && shape.top >= top && shape.right <= right && shape.bottom <= bottom) return;
    if (!near) camera.zoom((2 * SEEN) / side / camera.scale);
    camera.centre((shape.left + shape.right) / 2, (shape.top + shape.bottom) / 2);
    this.moved();
  }

  /** Acts as the key of this name does. */
  press(key) {
    this.canvas.dispatchEvent(new KeyboardEvent("keydown", { key }));
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  #draw() {
    const { canvas, camera, ground } = this;
    if (!ground || ground.closed || !canvas.clientWidth) return;
    const style = getComputedStyle(canvas);
    const ratio = canvas.width / canvas.clientWidth;
    const context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = style.backgroundColor;
    context.fillRect(0, 0, camera.width, camera.height);
    ground.draw(context, camera, ratio);
    this.shapes.draw(context, camera);
    ground.drawOver?.(context, camera, style.color, style.backgroundColor);
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (!width || !height) return;
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    this.camera.resize(width, height);
    this.moved();
    this.#draw(); // at once: the new size has emptied the canvas
  }

  #point(at, chosen, onPoint) {
    if (!this.shapes) return;
    const place = at && this.camera.toPlane(...at);
    this.readout.textContent = place ? this.ground.where(...place) : "";
    const index = (place && this.shapes.at(place, 1 / this.camera.scale)?.index) ?? null;
    if (index === this.pointed && !chosen) return;
    this.pointed = index;
    onPoint(index, chosen);
  }
}
