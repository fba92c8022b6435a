// The command that asks the same as the page shows, for a POSIX shell.

import { key } from "./key.js";
import { address, modelAddress } from "./service.js";

/**
 * Writes the command.
 *
 * @param {import("./pictures.js").Picture} picture a sample is fetched first, so that the command runs anywhere
 * @param {number} confidence the slider's value
 * @param {string[] | null} classes names or ids to keep; null for all
 * @param {boolean} drawn whether the answer is to be the picture with its boxes
 */
export function curlCommand(picture, confidence, classes, drawn) {
  const query = new URLSearchParams({ confidence: confidence.toFixed(2) });
  if (classes) query.set("classes", classes.join(","));
  if (picture.tiles) query.set("tiles", "auto");
  if (drawn) query.set("format", "image");
  const url = `${modelAddress("detect")}?${String(query).replaceAll("%2C", ",")}`;
  const output = drawn ? ` -o ${quoted(picture.name.replace(/(\.[^.]*)?$/, "_boxes.jpg"))}` : "";
  const first = {
    sample: `curl -sO ${quoted(address(`samples/${picture.name}`))}\n`,
    paste: `# the pasted picture, saved as ${picture.name.replace(/\s+/g, " ")}\n`,
  };
  const access = key() ? '-H "X-API-Key: $AZAION_KEY" ' : ""; // not the key itself: commands are copied, and shown
  return `${first[picture.origin] ?? ""}curl ${access}--data-binary ${quoted(`@${picture.name}`)} ${quoted(url)}${output}`;
}

/**
 * How to name classes to the service: by name where that is clear, else by id.
 *
 * @param {Iterable<number>} ids
 * @param {Object<string, string>} names the card's classes, id to name
 */
export function classParameters(ids, names) {
  const all = Object.values(names).map((name) => name.toLowerCase());
  return Array.from(ids, (id) => {
    const name = names[id];
    const alone = all.filter((other) => other === name?.toLowerCase()).length === 1;
    return alone && !/,|^\d+$/.test(name) ? name : String(id);
  });
}

function quoted(text) {
  return /^[\w@./:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
