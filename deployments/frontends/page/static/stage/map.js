// The ground of boxes on the earth, without a map: a grid in metres, a scale bar, and coordinates.

const AXIS = 6378137; // metres: the semi-major axis of WGS84 (NGA.STND.0036, table 3.1)
const FLATTENING = 1 / 298.257223563; // likewise
const DEGREE = Math.PI / 180;
const BAR = 120; // CSS pixels that the scale bar has at most
const LINES = 90; // CSS pixels between lines of the grid, at least
const SMALLEST = 20; // metres: a lone small object does not fill the canvas
const BORDER = 0.1; // share of the boxes' extent that is shown around them

/** The earth around the geometries of an answer, as a plane in metres east and south of their middle. */
export class MapGround {
  /** @param {object[]} geometries GeoJSON polygons and multipolygons in WGS84 (RFC 7946), one at least */
  constructor(geometries) {
    const points = geometries.flatMap((geometry) => ringsOf(geometry).flat());
    const first = points[0][0];
    // Longitudes near the first: those of a scene across the antimeridian lie side by side.
    const longitudes = points.map(([longitude]) => near(longitude, first));
    const latitudes = points.map(([, latitude]) => latitude);
    const [west, east] = extent(longitudes);
    const [south, north] = extent(latitudes);
    this.longitude = (west + east) / 2;
    this.latitude = (south + north) / 2;
    // Metres of a degree at this latitude: radii of curvature in the prime vertical and the meridian (Snyder, Map
    // Projections: A Working Manual, 1987, equations 4-18 and 4-20). Off by less than 1 in 1,000 within 50 km.
    const squared = FLATTENING * (2 - FLATTENING); // of the eccentricity
    const sine = Math.sin(this.latitude * DEGREE);
    const narrowed = 1 - squared * sine * sine;
    this.across = (DEGREE * AXIS * Math.cos(this.latitude * DEGREE)) / Math.sqrt(narrowed);
    this.down = (DEGREE * AXIS * (1 - squared)) / narrowed ** 1.5;
    const width = Math.max(SMALLEST, (1 + BORDER) * (east - west) * this.across);
    const height = Math.max(SMALLEST, (1 + BORDER) * (north - south) * this.down);
    this.bounds = { x: -width / 2, y: -height / 2, width, height };
    this.most = 200; // CSS pixels of a metre
    this.changed = () => {};
  }

  /** The rings of a geometry in metres of the plane. */
  rings(geometry) {
    return ringsOf(geometry).map((ring) =>
      ring.map(([longitude, latitude]) => [
        (near(longitude, this.longitude) - this.longitude) * this.across,
        (this.latitude - latitude) * this.down,
      ]),
    );
  }

  /** Where a point is: latitude and longitude in degrees of WGS84. */
  where(x, y) {
    const latitude = this.latitude - y / this.down;
    const longitude = near(this.longitude + x / this.across, 0);
    const side = (degrees, [positive, negative]) => `${Math.abs(degrees).toFixed(6)}° ${degrees < 0 ? negative : positive}`;
    return `${side(latitude, "NS")}, ${side(longitude, "EW")}`;
  }

  draw(context, camera) {
    const { left, top, right, bottom } = camera.sight;
    const step = round(LINES / camera.scale, Math.ceil);
    context.lineWidth = 1;
    context.strokeStyle = "rgb(128 128 128 / 0.35)";
    context.beginPath();
    for (let x = step * Math.ceil(left / step); x <= right; x += step) {
      const [at] = camera.toCanvas(x, 0);
      context.moveTo(at, 0);
      context.lineTo(at, camera.height);
    }
    for (let y = step * Math.ceil(top / step); y <= bottom; y += step) {
      const [, at] = camera.toCanvas(0, y);
      context.moveTo(0, at);
      context.lineTo(camera.width, at);
    }
    context.stroke();
  }

  /** Draws the scale bar, over the boxes. */
  drawOver(context, camera, ink, paper) {
    const metres = round(BAR / camera.scale, Math.floor);
    const [left, bottom, length] = [14, camera.height - 14, metres * camera.scale];
    context.globalAlpha = 0.8;
    context.fillStyle = paper;
    context.fillRect(left - 8, bottom - 24, length + 16, 32);
    context.globalAlpha = 1;
    context.lineWidth = 2;
    context.strokeStyle = context.fillStyle = ink;
    context.beginPath();
    context.moveTo(left, bottom - 6);
    context.lineTo(left, bottom);
    context.lineTo(left + length, bottom);
    context.lineTo(left + length, bottom - 6);
    context.stroke();
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "bottom";
    context.fillText(inWords(metres), left + 4, bottom - 3);
  }

  close() {}
}

const ringsOf = ({ type, coordinates }) => (type === "MultiPolygon" ? coordinates.flat() : coordinates);

/** The longitude within half a turn of another. */
const near = (longitude, other) => longitude - 360 * Math.round((longitude - other) / 360);

function extent(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return [least, most];
}

/** 1, 2 or 5 times a power of ten: the next to a length, above it (Math.ceil) or below (Math.floor). */
function round(length, towards) {
  const power = 10 ** Math.floor(Math.log10(length));
  const steps = [1, 2, 5, 10].map((step) => step * power);
  return towards === Math.ceil ? steps.find((step) => step >= length * 0.999999) : steps.findLast((step) => step <= length);
}

function inWords(metres) {
  if (metres >= 1000) return `${metres / 1000} km`;
  return metres >= 1 ? `${metres} m` : `${Math.round(metres * 100)} cm`;
}
