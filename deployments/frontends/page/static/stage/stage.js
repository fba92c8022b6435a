// The stage: the pixels of the chosen picture in the size that the service saw, or the place of its boxes on the earth.

import { hasPlaces } from "../geojson.js";
import { Overlay } from "./overlay.js";
import { plainPicture } from "../service.js";
import { MapGround } from "./map.js";
import { Pyramid, bareGround } from "./pyramid.js";
import { Viewer } from "./viewer.js";

// Beyond these a canvas draws what is in sight: elements of thousands of boxes are slow, and phones show no larger image.
const LARGE_PIXELS = 1 << 24;
const MANY_BOXES = 1000;

export class Stage {
  /**
   * @param {object} places elements: `frame` has the picture's shape, `image` fills it, `overlay` lies over it;
   *     `viewer` holds the `canvas` and the `readout` of large pictures and of the map, and the
   *     button of their `natural` size
   * @param {(index: number | null, chosen: boolean) => void} onPoint a box was pointed at (or chosen), or left
   */
  constructor(places, onPoint) {
    this.places = places;
    this.overlay = new Overlay(places.overlay, onPoint);
    this.viewer = new Viewer(places.canvas, places.readout, onPoint);
    this.map = false; // whether boxes are shown on the earth, where they have a place
    this.maps = new WeakMap(); // answer → its ground
    this.decoded = null; // the ground of a large picture, and whose it is: one at a time, it takes much memory
    this.turn = 0;
    this.#face(null);
  }

  /** Takes the boxes off, until the next picture is shown. */
  clear() {
    this.overlay.show([], { width: 1, height: 1 });
    this.viewer.filter(new Set());
  }

  /**
   * Shows a picture, and its boxes when it has an answer; `filter` makes them visible. Where the browser cannot (TIFF),
   * or turns it otherwise than the service does, the service is asked for the pixels that its boxes belong to.
   *
   * @param {import("../pictures.js").Picture} picture
   */
  async show(picture) {
    const turn = ++this.turn;
    const { answer } = picture;
    if (this.decoded && this.decoded.picture !== picture) this.#release();
    if (!picture.bytes) return this.#face(null);
    const boxes = picture.state === "done" ? answer.boxes : [];
    if (this.map && hasPlaces(answer)) return this.#showMap(answer, boxes);
    if (!isLarge(answer)) return this.#showImage(picture, boxes, turn);
    const ground = await this.#decode(picture, turn);
    if (turn !== this.turn) return;
    this.#face("viewer");
    this.places.natural.hidden = false;
    this.viewer.show(ground, boxes.map(shapeOf));
  }

  filter(visible) {
    if (this.face === "image") this.overlay.filter(visible);
    if (this.face === "viewer") this.viewer.filter(visible);
  }

  highlight(index) {
    if (this.face === "image") this.overlay.highlight(index);
    if (this.face === "viewer") this.viewer.highlight(index);
  }

  /** Brings a box into sight, where the picture is larger than its place. */
  reveal(index, { x1, y1, x2, y2 }) {
    if (this.face === "viewer") return this.viewer.reveal(index);
    const { frame } = this.places;
    const { parentElement: scroller } = frame;
    const scale = frame.clientWidth / Number(frame.style.getPropertyValue("--width"));
    scroller.scrollTo({
      left: ((x1 + x2) / 2) * scale - scroller.clientWidth / 2,
      top: ((y1 + y2) / 2) * scale - scroller.clientHeight / 2,
    });
  }

  async #showImage(picture, boxes, turn) {
    const size = picture.answer?.picture;
    const has = (image) => image?.naturalWidth === size.width && image?.naturalHeight === size.height;
    const load = () => imageOf((picture.url ??= URL.createObjectURL(picture.pixels ?? picture.bytes)));
    let image = await load();
    if (size && !has(image) && (await askForPixels(picture))) image = await load();
    if (turn !== this.turn) return; // another was chosen, or this one was answered meanwhile
    const [width, height] = size ? [size.width, size.height] : [image?.naturalWidth, image?.naturalHeight];
    if (!width) return this.#face(null);
    this.places.frame.style.setProperty("--width", width);
    this.places.frame.style.setProperty("--height", height);
    this.places.image.src = picture.url;
    this.#face("image");
    if (size) this.overlay.show(boxes, size);
  }

  #showMap(answer, boxes) {
    if (!this.maps.has(answer)) {
      this.maps.set(answer, new MapGround(answer.boxes.flatMap(({ geometry }) => geometry ?? [])));
    }
    const ground = this.maps.get(answer);
    const placed = boxes.flatMap((box, index) =>
      box.geometry ? { ...shapeOf(box, index), rings: ground.rings(box.geometry) } : [],
    );
    this.#face("viewer");
    this.places.natural.hidden = true; // boxes on the earth have no pixels
    this.viewer.show(ground, placed);
  }

  async #decode(picture, turn) {
    if (this.decoded) return this.decoded.ground;
    const size = picture.answer.picture;
    const has = (ground) => ground?.bounds.width === size.width && ground?.bounds.height === size.height;
    let ground = await Pyramid.of(picture.pixels ?? picture.bytes);
    if (!has(ground) && (await askForPixels(picture))) {
      ground?.close();
      ground = await Pyramid.of(picture.pixels);
    }
    if (!has(ground)) {
      ground?.close();
      ground = bareGround(size);
    }
    if (turn === this.turn) this.decoded = { picture, ground };
    else ground.close();
    return ground;
  }

  #release() {
    this.decoded.ground.close();
    this.decoded = null;
  }

  #face(face) {
    this.face = face;
    this.places.frame.parentElement.hidden = face !== "image";
    this.places.viewer.hidden = face !== "viewer";
    if (face === "viewer") this.places.image.removeAttribute("src"); // the browser would keep its pixels
  }
}

const isLarge = (answer) =>
  answer && (answer.picture.width * answer.picture.height > LARGE_PIXELS || answer.boxes.length > MANY_BOXES);

/** A box as a shape of the viewer, in pixels of the picture. */
function shapeOf(box, index) {
  const { x1, y1, x2, y2, corners } = box;
  const ring = corners ?? [[x1, y1], [x2, y1], [x2, y2], [x1, y2]];
  return { index, rings: [ring], classId: box.class_id, text: `${box.class_name} ${box.confidence.toFixed(2)}` };
}

/** Asks the service, once, for the pixels that the boxes belong to; returns whether they came. */
async function askForPixels(picture) {
  if (picture.asked) return false;
  picture.asked = true;
  picture.pixels = await plainPicture(picture.bytes).catch(() => null); // without it the boxes stand on bare ground
  if (picture.pixels) picture.url = null;
  return picture.pixels !== null;
}

async function imageOf(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}
