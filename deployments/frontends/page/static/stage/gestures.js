// Gestures over a canvas: a mouse's, fingers' and keys' ways to move and zoom a camera.

const STEP = 0.15; // share of the canvas that an arrow key moves
const KEY_ZOOM = 1.5;
const STILL = 5; // CSS pixels that a click may move

/**
 * Moves a camera by what a user does over a canvas.
 *
 * Drag and arrow keys move; wheel, pinch, + and - zoom; a double click zooms in, 0 shows the whole, 1 the natural size.
 *
 * @param {HTMLCanvasElement} canvas can have the focus
 * @param {import("./camera.js").Camera} camera
 * @param {object} on
 * @param {() => void} on.move after the camera moved
 * @param {(at: [number, number] | null, chosen: boolean) => void} on.point the pointer is at a place (and pressed it),
 *     or left the canvas
 */
export function listen(canvas, camera, on) {
  const down = new Map(); // pointer id → where it is
  let travelled = 0; // since the first pointer came down

  const moved = () => {
    // With the whole in sight one finger scrolls the page; else it moves the picture.
    canvas.style.touchAction = camera.isWhole ? "pan-y" : "none";
    on.move();
  };

  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    if (!down.size) travelled = 0;
    down.set(event.pointerId, place(event));
  });
  canvas.addEventListener("pointermove", (event) => {
    const to = place(event);
    const from = down.get(event.pointerId);
    if (!from) return on.point(to, false);
    travelled += distance(from, to);
    const [other] = [...down].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
    down.set(event.pointerId, to);
    if (other) {
      const [before, after] = [middle(from, other), middle(to, other)];
      camera.pan(after[0] - before[0], after[1] - before[1]);
      camera.zoom(Math.max(1, distance(to, other)) / Math.max(1, distance(from, other)), after);
    } else if (travelled > STILL) {
      camera.pan(to[0] - from[0], to[1] - from[1]);
    }
    moved();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (down.delete(event.pointerId) && !down.size && travelled <= STILL) on.point(place(event), true);
  });
  canvas.addEventListener("pointercancel", (event) => down.delete(event.pointerId));
  canvas.addEventListener("pointerleave", () => down.size || on.point(null, false));
  canvas.addEventListener("dblclick", (event) => {
    camera.zoom(2, place(event));
    moved();
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (event.deltaY > 0 && camera.isWhole) return; // nothing to zoom out of: the page scrolls
      event.preventDefault();
      camera.zoom(Math.exp(-event.deltaY * perUnit(event)), place(event));
      moved();
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { width, height } = camera;
    const act = {
      ArrowLeft: () => camera.pan(STEP * width, 0),
      ArrowRight: () => camera.pan(-STEP * width, 0),
      ArrowUp: () => camera.pan(0, STEP * height),
      ArrowDown: () => camera.pan(0, -STEP * height),
      "+": () => camera.zoom(KEY_ZOOM),
      "=": () => camera.zoom(KEY_ZOOM), // the same key without shift
      "-": () => camera.zoom(1 / KEY_ZOOM),
      0: () => camera.whole(),
      1: () => camera.zoom(1 / camera.scale),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
    moved();
  });
  return moved;
}

/** Logarithm of the zoom per unit of a wheel's delta: lines are larger than pixels, a touchpad's pinch has small ones. */
function perUnit(event) {
  if (event.deltaMode === WheelEvent.DOM_DELTA_LINE) return 0.06;
  return event.ctrlKey ? 0.01 : 0.002;
}

const place = (event) => [event.offsetX, event.offsetY];
const distance = ([ax, ay], [bx, by]) => Math.hypot(bx - ax, by - ay);
const middle = ([ax, ay], [bx, by]) => [(ax + bx) / 2, (ay + by) / 2];
