// Where the labels of boxes lie, so that none covers another or a small box.

const CROWD = 0.4; // share of the picture that all labels together would cover
const MOST_LABELS = 400; // of the most confident boxes: placing them takes their number squared
const MOST = 25; // times a box's own area that its label may cover in a crowd

/**
 * Gives labels their places, the most confident boxes first: above the box, below it, else beside it. One that would
 * cover another label or a small box is spare; in a crowd so is that of a tiny box.
 *
 * @param {object[]} items in falling order of confidence; `spot` has left, top, right and bottom of the box, `size` the
 *     width and height of its label. Each gets its `place` and whether it is `spare`.
 * @param {number} width of the canvas, in the unit of the spots
 * @param {number} height
 */
export function placeLabels(items, width, height) {
  const crowded = items.reduce((sum, { size }) => sum + area(size), 0) > CROWD * width * height;
  const small = items.filter(({ spot, size }) => spot.bottom - spot.top < 2 * size[1]);
  const taken = [];
  for (const [rank, item] of items.entries()) {
    const { spot } = item;
    const tiny = area(item.size) > MOST * area([spot.right - spot.left, spot.bottom - spot.top]);
    const places = placesFor(spot, item.size, width, height);
    const free = ((crowded && tiny) || rank >= MOST_LABELS ? [] : places).find(
      (place) =>
        !taken.some((other) => overlap(place, other)) &&
        !small.some((other) => other !== item && overlap(place, other.spot)),
    );
    item.place = free ?? places[0];
    item.spare = !free;
    if (free) taken.push(free);
  }
}

/** Where a label may lie, best first; all inside the picture. */
function placesFor(box, [labelWidth, labelHeight], width, height) {
  const within = (left) => Math.max(0, Math.min(left, width - labelWidth));
  const corners = [
    [within(box.left), box.top - labelHeight],
    [within(box.left), box.bottom],
    [within(box.right - labelWidth), box.top - labelHeight],
    [within(box.right - labelWidth), box.bottom],
    [box.right, box.top],
    [box.left - labelWidth, box.top],
    // Inside: what is left where the box fills the picture.
    [within(box.left), Math.max(0, Math.min(box.top, height - labelHeight))],
  ];
  const places = corners.map(([left, top]) => ({ left, top, right: left + labelWidth, bottom: top + labelHeight }));
  const inside = places.filter((p) => p.left >= 0 && p.top >= 0 && p.right <= width && p.bottom <= height);
  return inside.length ? inside : places.slice(-1);
}

export const area = ([width, height]) => width * height;

// A pixel of air between two labels.
const overlap = (a, b) =>
  a.left < b.right + 1 && b.left < a.right + 1 && a.top < b.bottom + 1 && b.top < a.bottom + 1;
