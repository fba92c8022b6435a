// The ground of a large picture: its decoded pixels once, a small overview, and tiles cut out of it where they are seen.

const OVERVIEW = 2048; // longest side of the overview
const TILE = 512; // side of a tile in its own pixels
const KEPT = 128; // tiles in memory: twice those that a large screen shows
const MOST = 32; // CSS pixels of a pixel of the picture
const AT_A_TIME = 2; // tiles being cut: the page stays responsive

/** The pixels of one picture, for a viewer. */
export class Pyramid {
  /**
   * Decodes a picture.
   *
   * @param {Blob} encoded of a format that the browser shows
   * @returns {Promise<Pyramid | null>} null if the browser cannot
   */
  static async of(encoded) {
    try {
      const full = await createImageBitmap(encoded);
      const shrink = Math.min(1, OVERVIEW / Math.max(full.width, full.height));
      return new Pyramid(full, await cut(full, [0, 0, full.width, full.height], shrink));
    } catch {
      return null;
    }
  }

  constructor(full, overview) {
    this.full = full;
    this.overview = overview;
    this.bounds = { x: 0, y: 0, width: full.width, height: full.height };
    this.most = MOST;
    this.tiles = new Map(); // address → bitmap, the least recently drawn first
    this.wanted = [];
    this.cutting = new Set(); // addresses
    this.closed = false;
    this.changed = () => {};
  }

  /** Where a point is, in words. */
  where(x, y) {
    return wherePixel(this.bounds, x, y);
  }

  /**
   * Draws what is in sight: the overview at once, sharper tiles as soon as they are cut.
   *
   * @param {CanvasRenderingContext2D} context its unit is a CSS pixel
   * @param {import("./camera.js").Camera} camera
   * @param {number} ratio device pixels of a CSS pixel
   */
  draw(context, camera, ratio) {
    const { width, height } = this.full;
    context.imageSmoothingEnabled = camera.scale * ratio < 2; // beyond, pixels are what one looks for
    context.imageSmoothingQuality = "high";
    const draw = (bitmap, x, y, across, down) => {
      // Whole device pixels: neighbours meet without a seam.
      const [left, top] = camera.toCanvas(x, y).map((at) => Math.round(at * ratio) / ratio);
      const [right, bottom] = camera.toCanvas(x + across, y + down).map((at) => Math.round(at * ratio) / ratio);
      context.drawImage(bitmap, left, top, right - left, bottom - top);
    };
    draw(this.overview, 0, 0, width, height);
    const level = Math.max(0, Math.floor(-Math.log2(camera.scale * ratio)));
    this.wanted = [];
    if (2 ** level * this.overview.width >= width) return; // the overview is as sharp
    for (const tile of this.#inSight(camera.sight, level)) {
      const bitmap = this.tiles.get(tile.address);
      if (!bitmap) {
        this.wanted.push(tile);
        continue;
      }
      this.tiles.delete(tile.address);
      this.tiles.set(tile.address, bitmap); // now the most recently drawn
      draw(bitmap, ...tile.place);
    }
    const off = ({ place: [x, y, across, down] }) => Math.hypot(x + across / 2 - camera.x, y + down / 2 - camera.y);
    this.wanted.sort((a, b) => off(a) - off(b)); // from the middle outwards
    this.#cutWanted();
  }

  close() {
    for (const bitmap of [this.full, this.overview, ...this.tiles.values()]) bitmap.close();
    this.tiles.clear();
    this.wanted = [];
    this.closed = true;
  }

  *#inSight({ left, top, right, bottom }, level) {
    const { width, height } = this.full;
    const side = TILE * 2 ** level;
    for (let y = side * Math.floor(Math.max(0, top) / side); y < Math.min(height, bottom); y += side)
      for (let x = side * Math.floor(Math.max(0, left) / side); x < Math.min(width, right); x += side)
        yield { address: `${level} ${x} ${y}`, level, place: [x, y, Math.min(side, width - x), Math.min(side, height - y)] };
  }

  /** Cuts those that are wanted by the last drawing; what has left the sight meanwhile is no more among them. */
  #cutWanted() {
    while (this.cutting.size < AT_A_TIME) {
      const tile = this.wanted.find(({ address }) => !this.cutting.has(address));
      if (!tile) return;
      this.wanted.splice(this.wanted.indexOf(tile), 1);
      this.cutting.add(tile.address);
      cut(this.full, tile.place, 2 ** -tile.level)
        .then((bitmap) => this.#keep(tile, bitmap))
        .catch(() => {}) // no memory for it: the overview stays in its place
    }
  }

  #keep({ address }, bitmap) {
    if (this.closed) return bitmap.close();
    this.cutting.delete(address);
    this.tiles.set(address, bitmap);
    for (const [oldest, old] of this.tiles) {
      if (this.tiles.size <= KEPT) break;
      old.close();
      this.tiles.delete(oldest);
    }
    this.changed();
  }
}

function cut(full, [x, y, width, height], shrink) {
  return createImageBitmap(full, x, y, width, height, {
    resizeWidth: Math.max(1, Math.round(width * shrink)),
    resizeHeight: Math.max(1, Math.round(height * shrink)),
    resizeQuality: "medium",
  });
}

/** The ground of a picture that cannot be shown: its extent alone. */
export function bareGround({ width, height }) {
  const bounds = { x: 0, y: 0, width, height };
  return { bounds, most: MOST, changed: () => {}, where: (x, y) => wherePixel(bounds, x, y), draw: () => {}, close: () => {} };
}

function wherePixel({ width, height }, x, y) {
  const inside = x >= 0 && y >= 0 && x < width && y < height;
  return inside ? `x ${Math.floor(x)}, y ${Math.floor(y)}` : "";
}
