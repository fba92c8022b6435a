// The camera: which part of a plane a canvas shows, and how large.

const MARGIN = 0.02; // share of the canvas around the whole plane

/**
 * A view of a bounded plane. Lengths on the canvas are CSS pixels; those on the plane are its own units: pixels of a
 * picture, metres of a map. The y axis points down on both.
 */
export class Camera {
  constructor() {
    this.width = this.height = 1; // of the canvas
    this.show({ x: 0, y: 0, width: 1, height: 1 }, 1);
  }

  /**
   * Takes another plane and shows it whole.
   *
   * @param {{x: number, y: number, width: number, height: number}} bounds of the plane, with an area
   * @param {number} most largest scale, in CSS pixels per unit
   */
  show(bounds, most) {
    this.bounds = bounds;
    this.most = most;
    this.whole();
  }

  /** Scale at which the whole plane fits; it may exceed `most` for a plane of few units. */
  get least() {
    const { width, height } = this.bounds;
    return (1 - MARGIN) * Math.min(this.width / width, this.height / height);
  }

  get isWhole() {
    return this.scale <= this.least * 1.000001;
  }

  whole() {
    this.scale = this.least;
    this.#keepInside();
  }

  resize(width, height) {
    const wasWhole = this.isWhole;
    Object.assign(this, { width, height });
    if (wasWhole) this.whole();
    else this.zoom(1);
  }

  /** Multiplies the scale; the point of the plane under `at` (on the canvas, default its middle) stays there. */
  zoom(factor, [left, top] = [this.width / 2, this.height / 2]) {
    const [x, y] = this.toPlane(left, top);
    this.scale = Math.max(this.least, Math.min(Math.max(this.most, this.least), this.scale * factor));
    this.x = x - (left - this.width / 2) / this.scale;
    this.y = y - (top - this.height / 2) / this.scale;
    this.#keepInside();
  }

  /** Moves the plane by a distance on the canvas. */
  pan(across, down) {
    this.x -= across / this.scale;
    this.y -= down / this.scale;
    this.#keepInside();
  }

  /** Brings a point of the plane to the middle, as far as its edge allows. */
  centre(x, y) {
    Object.assign(this, { x, y });
    this.#keepInside();
  }

  toPlane(left, top) {
    return [this.x + (left - this.width / 2) / this.scale, this.y + (top - this.height / 2) / this.scale];
  }

  toCanvas(x, y) {
    return [(x - this.x) * this.scale + this.width / 2, (y - this.y) * this.scale + this.height / 2];
  }

  /** The part of the plane in sight. */
  get sight() {
    const [left, top] = this.toPlane(0, 0);
    const [right, bottom] = this.toPlane(this.width, this.height);
    return { left, top, right, bottom };
  }

  #keepInside() {
    const { bounds } = this;
    this.x = between(this.x, bounds.x, bounds.width, this.width / this.scale);
    this.y = between(this.y, bounds.y, bounds.height, this.height / this.scale);
  }
}

/** The middle of what is seen, so that no more than the margin lies outside; all of a plane that fits is in the middle. */
function between(middle, start, length, seen) {
  const half = seen / 2 - (MARGIN / 2) * seen;
  if (2 * half >= length || !Number.isFinite(middle)) return start + length / 2;
  return Math.max(start + half, Math.min(start + length - half, middle));
}
