// The strip of pictures: each is asked about once, one after the other, and keeps its answer.

import { element } from "./panels.js";
import { detect } from "./service.js";

const MOST = 32; // taken at a time: each stays in the browser's memory while the page is open

/**
 * @typedef {object} Picture
 * @property {string} name of its file
 * @property {"sample" | "file" | "paste"} origin
 * @property {() => Promise<Blob>} load gives its bytes
 * @property {"new" | "waiting" | "busy" | "done" | "failed"} state
 * @property {object} [answer] what /detect answered
 * @property {number} [roundTrip] milliseconds, as the browser saw them
 * @property {Error} [error]
 */

export class Pictures {
  /**
   * @param {HTMLElement} strip a list of buttons; those there already are the samples
   * @param {(picture: Picture) => void} onChange a picture was chosen, or the chosen one has another state
   */
  constructor(strip, onChange) {
    this.strip = strip;
    this.onChange = onChange;
    this.all = [];
    this.chosen = null;
    this.card = null;
    this.working = false;
    for (const button of strip.querySelectorAll("button")) {
      const { sample } = button.dataset;
      this.#add(button, { name: sample, origin: "sample", load: () => sampleBytes(sample) });
    }
  }

  /** Takes the user's files and shows the first; returns how many were taken. */
  addFiles(files, origin = "file") {
    const added = [...files].slice(0, MOST).map((file) => {
      const button = element("button", "", thumbnail(file), element("span", "", file.name));
      button.type = "button";
      this.strip.append(element("li", "", button));
      return this.#add(button, { name: file.name, origin, load: async () => file });
    });
    for (const picture of added) this.#mark(picture, "waiting");
    if (added.length) this.choose(added[0]);
    return added.length;
  }

  choose(picture) {
    this.chosen = picture;
    for (const { button } of this.all) button.setAttribute("aria-pressed", button === picture.button);
    picture.button.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (picture.state === "new") this.#mark(picture, "waiting");
    else this.onChange(picture);
    this.#work();
  }

  /** Asks again about the chosen picture. */
  again() {
    this.#mark(this.chosen, "waiting");
    this.#work();
  }

  #add(button, picture) {
    Object.assign(picture, { button, state: "new" });
    button.addEventListener("click", () => this.choose(picture));
    this.all.push(picture);
    return picture;
  }

  #mark(picture, state) {
    picture.state = picture.button.dataset.state = state;
    if (picture === this.chosen) this.onChange(picture);
  }

  #next() {
    return [this.chosen, ...this.all].find((picture) => picture.state === "waiting");
  }

  async #work() {
    if (this.working) return;
    this.working = true;
    for (let picture = this.#next(); picture; picture = this.#next()) {
      try {
        picture.bytes ??= await picture.load();
        this.#mark(picture, "busy");
        Object.assign(picture, await detect(picture.bytes, this.card));
        this.#mark(picture, "done");
      } catch (error) {
        picture.error = error;
        this.#mark(picture, "failed");
      }
    }
    this.working = false;
  }
}

async function sampleBytes(name) {
  const response = await fetch(`samples/${name}`);
  if (!response.ok) throw new Error(`the sample cannot be fetched: ${response.status}`);
  return response.blob();
}

function thumbnail(file) {
  const image = element("img");
  image.alt = "";
  image.decoding = "async";
  image.draggable = false;
  image.src = URL.createObjectURL(file);
  image.onerror = () => image.replaceWith(element("i", "", file.name.split(".").pop().slice(0, 4)));
  return image;
}
