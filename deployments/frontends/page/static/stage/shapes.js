// Shapes over a viewer's ground: the boxes of an answer as rings of points, found and drawn by what is in sight.

import { classColour, textColour } from "./colours.js";
import { placeLabels } from "./labels.js";

const CELLS = 64; // of the index, across and down
const DOT = 4; // CSS pixels: a smaller box is drawn as a square of this side
const LABELLED = 400; // with more boxes in sight there are no labels
const NEAR = 4; // CSS pixels around a box that still belong to it
const FONT = "600 11px system-ui, sans-serif";

/**
 * @typedef {object} Shape
 * @property {number} index of the box in the answer
 * @property {[number, number][][]} rings in units of the plane
 * @property {number} classId
 * @property {string} text of its label
 */

export class Shapes {
  /**
   * @param {Shape[]} shapes in falling order of confidence
   * @param {{x: number, y: number, width: number, height: number}} bounds of the plane
   */
  constructor(shapes, bounds) {
    this.bounds = bounds;
    this.all = shapes.map((shape) => ({ ...shape, ...boundsOf(shape.rings.flat()) }));
    this.visible = new Set();
    this.chosen = null;
    this.cells = Array.from({ length: CELLS * CELLS }, () => []);
    this.all.forEach((shape, rank) => {
      for (const cell of this.#cellsUnder(shape)) this.cells[cell].push(rank);
    });
    this.stamps = new Uint32Array(this.all.length); // of the query that met a shape last: one lies in several cells
    this.query = 0;
  }

  /** The visible shapes that touch a part of the plane, in falling order of confidence. */
  within(part) {
    this.query += 1;
    const ranks = [];
    for (const cell of this.#cellsUnder(part)) {
      for (const rank of this.cells[cell]) {
        if (this.stamps[rank] === this.query) continue;
        this.stamps[rank] = this.query;
        if (this.visible.has(this.all[rank].index) && touches(this.all[rank], part)) ranks.push(rank);
      }
    }
    return ranks.sort((a, b) => a - b).map((rank) => this.all[rank]);
  }

  /** The smallest visible shape at a point of the plane, or null; `unit` is the length of a CSS pixel there. */
  at([x, y], unit) {
    const near = NEAR * unit;
    const under = this.within({ left: x - near, top: y - near, right: x + near, bottom: y + near }).filter(
      (shape) => largest(shape) < 3 * near || shape.rings.some((ring) => inside(ring, x, y)),
    );
    under.sort((a, b) => largest(a) - largest(b));
    return under[0] ?? null;
  }

  find(index) {
    return this.all.find((shape) => shape.index === index);
  }

  /** Draws what is in sight; the unit of the context is a CSS pixel. */
  draw(context, camera) {
    const seen = this.within(camera.sight);
    const chosen = this.chosen === null ? null : seen.find(({ index }) => index === this.chosen);
    const crowded = seen.length > LABELLED; // thin lines and dots then leave more of the picture in sight
    context.globalAlpha = chosen ? 0.4 : 1;
    const isDot = crowded ? (shape) => largest(shape) * camera.scale < DOT : () => false;
    const classes = Map.groupBy(seen, ({ classId }) => classId);
    const paths = [...classes].map(([classId, shapes]) => [classId, pathOf(shapes.filter((shape) => !isDot(shape)), camera)]);
    for (const [, path] of paths) outline(context, path, "rgb(0 0 0 / 0.35)", crowded ? 2 : 4);
    for (const [classId, path] of paths) outline(context, path, css(classId), crowded ? 1 : 2);
    for (const [classId, shapes] of classes) drawDots(context, shapes.filter(isDot), css(classId), camera);
    context.globalAlpha = 1;
    if (chosen) {
      const path = pathOf([chosen], camera);
      outline(context, path, "rgb(0 0 0 / 0.5)", 6);
      outline(context, path, css(chosen.classId), 3);
    }
    drawLabels(context, chosen ? [chosen] : crowded ? [] : seen, camera);
  }

  *#cellsUnder({ left, top, right, bottom }) {
    const { x, y, width, height } = this.bounds;
    const cell = (at, start, length) => Math.max(0, Math.min(CELLS - 1, Math.floor((CELLS * (at - start)) / length)));
    const [first, last] = [cell(left, x, width), cell(right, x, width)];
    for (let row = cell(top, y, height); row <= cell(bottom, y, height); row++)
      for (let column = first; column <= last; column++) yield row * CELLS + column;
  }
}

export function boundsOf(points) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const [x, y] of points) {
    left = Math.min(left, x);
    top = Math.min(top, y);
    right = Math.max(right, x);
    bottom = Math.max(bottom, y);
  }
  return { left, top, right, bottom };
}

const css = (classId) => `rgb(${classColour(classId).join(" ")})`;
const largest = ({ left, top, right, bottom }) => Math.max(right - left, bottom - top);
const touches = (a, b) => a.left <= b.right && b.left <= a.right && a.top <= b.bottom && b.top <= a.bottom;

function pathOf(shapes, camera) {
  const path = new Path2D();
  for (const shape of shapes) {
    if (largest(shape) * camera.scale < DOT) {
      const [x, y] = camera.toCanvas((shape.left + shape.right) / 2, (shape.top + shape.bottom) / 2);
      path.rect(x - DOT / 2, y - DOT / 2, DOT, DOT);
      continue;
    }
    for (const ring of shape.rings) {
      ring.forEach(([x, y], corner) => path[corner ? "lineTo" : "moveTo"](...camera.toCanvas(x, y)));
      path.closePath();
    }
  }
  return path;
}

/** Draws small boxes as squares: tens of thousands of them take a tenth of the time of outlines. */
function drawDots(context, shapes, colour, camera) {
  context.fillStyle = colour;
  for (const shape of shapes) {
    const [x, y] = camera.toCanvas((shape.left + shape.right) / 2, (shape.top + shape.bottom) / 2);
    context.fillRect(x - DOT / 2, y - DOT / 2, DOT, DOT);
  }
}

function outline(context, path, colour, width) {
  context.lineWidth = width;
  context.strokeStyle = colour;
  context.stroke(path);
}

function drawLabels(context, shapes, camera) {
  context.font = FONT;
  context.textBaseline = "middle";
  const labels = shapes.map((shape) => {
    const [left, top] = camera.toCanvas(shape.left, shape.top);
    const [right, bottom] = camera.toCanvas(shape.right, shape.bottom);
    return { shape, spot: { left, top, right, bottom }, size: [context.measureText(shape.text).width + 8, 15] };
  });
  placeLabels(labels, camera.width, camera.height);
  for (const { shape, place, size, spare } of labels) {
    if (spare && shapes.length > 1) continue;
    const colour = classColour(shape.classId);
    context.fillStyle = `rgb(${colour.join(" ")})`;
    context.fillRect(place.left, place.top, ...size);
    context.fillStyle = textColour(colour);
    context.fillText(shape.text, place.left + 4, place.top + size[1] / 2);
  }
}

/** Whether a point lies in a ring: a ray from it crosses the ring an odd number of times. */
function inside(ring, x, y) {
  let odd = false;
  ring.forEach(([ax, ay], corner) => {
    const [bx, by] = ring.at(corner - 1);
    if (ay > y !== by > y && x < ax + ((y - ay) / (by - ay)) * (bx - ax)) odd = !odd;
  });
  return odd;
}
