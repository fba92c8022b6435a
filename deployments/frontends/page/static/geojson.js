// The boxes of a picture with a place on the earth, as GeoJSON (RFC 7946).

/** Whether one box at least has a place. */
export const hasPlaces = (answer) => Boolean(answer?.boxes.some(({ geometry }) => geometry));

/**
 * Writes a document as `azaion detect --format geojson` does.
 *
 * @param {import("./pictures.js").Picture} picture has an answer
 * @param {Set<number>} visible indexes of the boxes to write
 * @returns {string}
 */
export function featureCollection(picture, visible) {
  const features = picture.answer.boxes
    .filter((box, index) => visible.has(index))
    .map(({ geometry, x1, y1, x2, y2, ...box }) => ({
      type: "Feature",
      geometry,
      properties: { source: picture.name, ...box, box: [x1, y1, x2, y2] },
    }));
  return JSON.stringify({ type: "FeatureCollection", features });
}

/** Gives the user a text as a file. */
export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/geo+json" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000); // the browser reads it after this function has returned
}
