// The stage: the pixels of the chosen picture, in the size that the service saw.

import { plainPicture } from "./service.js";

export class Stage {
  /**
   * @param {HTMLElement} frame has the picture's shape
   * @param {HTMLImageElement} image fills the frame
   */
  constructor(frame, image) {
    this.frame = frame;
    this.image = image;
    this.turn = 0;
  }

  /**
   * Shows a picture. Where the browser cannot (TIFF), or turns it otherwise than the service does, the service is
   * asked for the pixels that its boxes belong to.
   *
   * @param {import("./pictures.js").Picture} picture
   */
  async show(picture) {
    const turn = ++this.turn;
    if (!picture.bytes) return this.#clear();
    picture.url ??= URL.createObjectURL(picture.bytes);
    const size = picture.answer?.picture;
    let image = await decoded(picture.url);
    if (size && !picture.asked && (image?.naturalWidth !== size.width || image?.naturalHeight !== size.height)) {
      picture.asked = true;
      const drawn = await plainPicture(picture.bytes).catch(() => null); // without it the boxes stand on bare ground
      if (drawn) picture.url = URL.createObjectURL(drawn);
      image = await decoded(picture.url);
    }
    if (turn !== this.turn) return; // another was chosen, or this one was answered meanwhile
    const [width, height] = size ? [size.width, size.height] : [image?.naturalWidth, image?.naturalHeight];
    if (!width) return this.#clear();
    this.frame.style.setProperty("--width", width);
    this.frame.style.setProperty("--height", height);
    this.image.src = picture.url;
    this.frame.parentElement.hidden = false;
  }

  #clear() {
    this.frame.parentElement.hidden = true;
  }

  /** Scrolls a box into sight, where the picture is larger than its place. */
  reveal({ x1, y1, x2, y2 }) {
    const { parentElement: scroller } = this.frame;
    const scale = this.frame.clientWidth / Number(this.frame.style.getPropertyValue("--width"));
    scroller.scrollTo({
      left: ((x1 + x2) / 2) * scale - scroller.clientWidth / 2,
      top: ((y1 + y2) / 2) * scale - scroller.clientHeight / 2,
    });
  }
}

async function decoded(url) {
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
    return image;
  } catch {
    return null;
  }
}
