// The strip of pictures: each is asked about once and keeps its answer; one after the other, but none waits for a slow one.

import { element } from "./panels.js";
import { ServiceError, detect } from "./service.js";

const PATIENCE_MS = 3000; // the next picture waits no longer for the one before
const HUNG_MS = 120_000; // a request without an answer ends; a service answers or refuses far sooner
const ANEW = new ServiceError("asked anew", "cancelled", "–"); // ends a request to another model, or with other parameters
const MOST = 32; // taken at a time: each stays in the browser's memory while the page is open

/**
 * @typedef {object} Picture
 * @property {string} name of its file
 * @property {"sample" | "file" | "paste"} origin
 * @property {(signal: AbortSignal) => Promise<Blob>} load gives its bytes
 * @property {"new" | "waiting" | "busy" | "done" | "failed"} state
 * @property {object} [answer] what /detect answered
 * @property {number} [roundTrip] milliseconds, as the browser saw them
 * @property {boolean} [tiles] whether it was asked about in tiles
 * @property {Error} [error]
 * @property {AbortController} [request] ends the request that was sent
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
    this.tiles = false; // whether large pictures are cut
    this.awaited = null; // the picture that the next ones wait for
    for (const button of strip.querySelectorAll("button")) {
      const { sample } = button.dataset;
      this.#add(button, { name: sample, origin: "sample", load: (signal) => sampleBytes(sample, signal) });
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

  /** Asks about large pictures in tiles, or no more: at once about the chosen one, about others when they are chosen. */
  cut(tiles) {
    this.tiles = tiles;
    this.askAnew();
  }

  /** Forgets the answers: asks at once about the chosen picture, and about others when they are chosen. */
  askAnew() {
    for (const picture of this.all) {
      if (picture.request) picture.request.abort(ANEW);
      else if (picture !== this.chosen && picture.state !== "waiting") this.#mark(picture, "new");
    }
    if (this.chosen?.state === "done" || this.chosen?.state === "failed") this.again();
  }

  /** Gives the chosen picture up, whether it waits or was sent. */
  cancel() {
    const picture = this.chosen;
    const error = new ServiceError("cancelled", "cancelled", "–");
    if (picture.request) picture.request.abort(error);
    else this.#fail(picture, error);
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

  #fail(picture, error) {
    picture.error = error;
    this.#mark(picture, "failed");
  }

  #work() {
    if (this.awaited) return;
    const picture = this.#next();
    if (!picture) return;
    this.awaited = picture;
    const goOn = () => {
      if (this.awaited === picture) this.awaited = null;
      this.#work();
    };
    const slow = setTimeout(goOn, PATIENCE_MS);
    this.#ask(picture).finally(() => {
      clearTimeout(slow);
      goOn();
    });
  }

  async #ask(picture) {
    const request = (picture.request = new AbortController());
    const hung = new ServiceError(`no answer within ${HUNG_MS / 1000} s`, "no_answer", "–");
    const end = setTimeout(() => request.abort(hung), HUNG_MS);
    this.#mark(picture, "busy");
    try {
      if (!picture.bytes) {
        picture.bytes = await picture.load(request.signal);
        this.#mark(picture, "busy"); // now it can be shown
      }
      const tiles = (picture.tiles = this.tiles);
      Object.assign(picture, await detect(picture.bytes, this.card, request.signal, tiles));
      this.#mark(picture, "done");
    } catch (error) {
      if (request.signal.reason === ANEW) this.#mark(picture, "waiting");
      else this.#fail(picture, request.signal.aborted ? request.signal.reason : error);
    } finally {
      clearTimeout(end);
      picture.request = null;
    }
  }
}

async function sampleBytes(name, signal) {
  const response = await fetch(`samples/${name}`, { signal });
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
