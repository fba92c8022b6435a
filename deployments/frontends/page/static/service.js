// What the page asks of the service: the model's card, boxes, and a drawn picture where the browser cannot show one.

import { askForKey, key, keyHeaders } from "./key.js";

/**
 * The confidence that the page asks with. The answer to this one request must hold everything that the slider can
 * show; below it an end-to-end model's 300 rows are noise, which would be sent and drawn for nothing.
 */
export const FLOOR = 0.05;

/** An answer that is no picture's boxes: what to tell people, and the code and status it came with. */
export class ServiceError extends Error {
  constructor(message, code, status) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** The address of the service itself, whatever prefix it is under. */
export const address = (path) => new URL(path, document.baseURI).href;

let route = ""; // of the chosen model, where the service has several

/** Lets all that follows be asked of one of several models. */
export function useModel(name) {
  route = `models/${encodeURIComponent(name)}/`;
}

/** The address of what the chosen model answers. */
export const modelAddress = (path) => address(route + path);

/** The models of a service that has several; null where there is one. */
export async function modelList() {
  return document.body.dataset.models === undefined ? null : (await json(await answered("models"))).models;
}

const KEY_WANTED = [401, 403];

export async function modelCard() {
  return json(await answered(`${route}model`));
}

/**
 * Asks for the boxes of one picture.
 *
 * @param {Blob} picture as the user chose it, byte for byte
 * @param {object | null} card limits to check before many megabytes are sent for nothing
 * @param {AbortSignal} signal ends the request; its reason is the error then
 * @param {boolean} tiles whether a large picture is cut into tiles
 * @returns {Promise<{answer: object, roundTrip: number}>} what /detect answered, and the milliseconds from the first byte sent to the last received
 */
export async function detect(picture, card, signal, tiles) {
  const most = card?.limits.max_picture_bytes;
  if (picture.size > most) {
    const message = `the picture has ${picture.size} bytes, at most ${most} are accepted`;
    throw new ServiceError(message, "picture_too_large", "not sent");
  }
  const started = performance.now();
  const parameters = { confidence: FLOOR, ...(tiles && { tiles: "auto" }) };
  const answer = await json(await post(picture, parameters, signal), signal);
  if (!Array.isArray(answer.boxes)) throw new ServiceError("the answer has no boxes: another service answered", "no_boxes", 200);
  return { roundTrip: performance.now() - started, answer };
}

/** The upright picture as the service sees it; at confidence 1 there is no box to draw. */
export async function plainPicture(picture) {
  return (await post(picture, { confidence: 1, format: "image" })).blob();
}

function post(picture, parameters, signal) {
  return answered(`${route}detect?${new URLSearchParams(parameters)}`, { method: "POST", body: picture, signal });
}

async function answered(path, options) {
  const sent = key();
  let response;
  try {
    response = await fetch(path, { ...options, headers: keyHeaders() });
  } catch {
    if (options?.signal?.aborted) throw options.signal.reason;
    throw new ServiceError("the service cannot be reached, or the file can no longer be read", "no_answer", "–");
  }
  if (response.ok) return response;
  const text = await textOf(response, options?.signal);
  let error;
  try {
    error = JSON.parse(text).error;
  } catch {
    // What Ray Serve or a proxy answers itself is plain text or HTML.
  }
  const wait = response.headers.get("Retry-After");
  const words = error?.message ?? `${response.status} ${response.statusText}`;
  if (KEY_WANTED.includes(response.status) && (await askForKey(sent, words))) return answered(path, options);
  throw new ServiceError(wait ? `${words} (retry after ${wait} s)` : words, error?.code ?? "http_error", response.status);
}

async function json(response, signal) {
  const text = await textOf(response, signal);
  try {
    return JSON.parse(text);
  } catch {
    const start = text.trim().slice(0, 60);
    const words = start ? `it begins with “${start}”` : "it is empty";
    throw new ServiceError(`the answer is no JSON: ${words}`, "no_json", response.status);
  }
}

async function textOf(response, signal) {
  try {
    return await response.text();
  } catch {
    if (signal?.aborted) throw signal.reason;
    throw new ServiceError("the answer broke off", "no_answer", response.status);
  }
}
