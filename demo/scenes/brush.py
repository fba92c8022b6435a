"""Brush: draws anti-aliased shapes and shadows on a picture and measures their extent."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

Colour = tuple[float, float, float]
SHIFT = 4
"""Fractional bits of OpenCV's fixed-point coordinates: a resolution of 1/16 pixel."""


def tint(colour: Colour, factor: float) -> Colour:
    """Scale an RGB colour (0..255)."""
    return (colour[0] * factor, colour[1] * factor, colour[2] * factor)


def blend(a: Colour, b: Colour, share: float) -> Colour:
    """Mix two RGB colours; `share` 0..1 of the second."""
    return tuple(x + (y - x) * share for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def rectangle(x1: float, y1: float, x2: float, y2: float, cut: float = 0.0) -> np.ndarray:
    """Rectangle float64 [4 or 12,2] in local metres; corners are rounded off over `cut` metres."""
    if cut <= 0:
        return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)], np.float64)
    c = min(cut, (x2 - x1) / 2, (y2 - y1) / 2)
    d = c * 0.29
    return np.array(
        [
            (x1 + c, y1),
            (x2 - c, y1),
            (x2 - d, y1 + d),
            (x2, y1 + c),
            (x2, y2 - c),
            (x2 - d, y2 - d),
            (x2 - c, y2),
            (x1 + c, y2),
            (x1 + d, y2 - d),
            (x1, y2 - c),
            (x1, y1 + c),
            (x1 + d, y1 + d),
        ],
        np.float64,
    )


def ellipse(x: float, y: float, rx: float, ry: float, corners: int = 16) -> np.ndarray:
    """Ellipse float64 [corners,2] in local metres."""
    return unit_circle(corners) * (rx, ry) + (x, y)


@functools.cache
def unit_circle(corners: int) -> np.ndarray:
    """Regular polygon float64 [corners,2] on the unit circle."""
    angle = np.arange(corners) * (2 * math.pi / corners)
    return np.stack((np.cos(angle), np.sin(angle)), 1)


class Pose:
    """Place, heading and size of an object on the ground."""

    def __init__(self, x: float, y: float, heading: float, scale: float) -> None:
        """Set the pose.

        Args:
            x: column, pixels.
            y: row, pixels.
            heading: radians; the local x axis points there.
            scale: pixels per local metre.
        """
        self.x, self.y, self.scale, self.heading = x, y, scale, heading
        self.cos, self.sin = math.cos(heading), math.sin(heading)
        self.matrix = np.array([(self.cos, self.sin), (-self.sin, self.cos)]) * scale
        self.origin = np.array((x, y))

    def place(self, points: np.ndarray) -> np.ndarray:
        """Map local metres float [n,2] to scene pixels float [n,2]."""
        return points @ self.matrix + self.origin


class Brush:
    """Draws on one picture, with one direction of the sun and one of the view.

    Attributes:
        picture: uint8 [H,W,3] RGB.
        shade: uint8 [H,W], shadows that `apply_shade` has not drawn yet.
        sun: shadow offset in metres per metre of height, (x, y).
        lean: apparent offset of tops in metres per metre of height at the
            picture's centre, (x, y).
        low, high: extent drawn since `begin`, pixels.
    """

    def __init__(
        self, picture: np.ndarray, scale: float, sun: tuple[float, float], lean: tuple[float, float], spread: float
    ) -> None:
        """Set up the brush.

        Args:
            picture: uint8 [H,W,3] RGB to draw on.
            scale: pixels per metre.
            sun: shadow offset in metres per metre of height, (x, y).
            lean: apparent offset of tops in metres per metre of height, (x, y).
            spread: growth of the lean per picture half-width off the centre.
        """
        self.picture, self.scale, self.sun, self.lean, self.spread = picture, scale, sun, lean, spread
        self.height, self.width = picture.shape[:2]
        self.shade = np.zeros((self.height, self.width), np.uint8)
        self.begin()

    def begin(self) -> None:
        """Start measuring the extent of an object."""
        self.low = np.full(2, 1e9)
        self.high = np.full(2, -1e9)

    def box(self) -> tuple[float, float, float, float]:
        """Extent since `begin` as x1,y1,x2,y2 in pixel-edge coordinates."""
        # OpenCV's coordinates are those of pixel centres, a box's those of pixel edges. Anti-aliasing reaches about
        # three quarters of a pixel beyond the shape.
        return (
            float(self.low[0]) - 0.25,
            float(self.low[1]) - 0.25,
            float(self.high[0]) + 1.25,
            float(self.high[1]) + 1.25,
        )

    def rise(self, x: float, y: float, height: float) -> np.ndarray:
        """Offset float [2] in pixels, due to the oblique view, of a point `height` metres above pixel (x, y)."""
        half = self.width / 2
        dx = self.lean[0] + self.spread * (x - half) / half
        dy = self.lean[1] + self.spread * (y - self.height / 2) / half
        return np.array((dx, dy)) * (height * self.scale)

    def fill(self, points: np.ndarray, colour: Colour, measure: bool = True) -> None:
        """Fill a polygon float [n,2] in scene pixels."""
        low, high = points.min(0), points.max(0)
        if measure:
            self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        if high[0] < -2 or high[1] < -2 or low[0] > self.width + 2 or low[1] > self.height + 2:
            return
        fixed = np.round(points * (1 << SHIFT)).astype(np.int32)
        cv2.fillPoly(self.picture, [fixed], colour, cv2.LINE_AA, SHIFT)

    def lift(self, pose: Pose, points: np.ndarray, height: float | np.ndarray) -> np.ndarray:
        """Map local metres float [n,2], at one height or one height each (float [n]), to pixels [n,2]."""
        rise = self.rise(pose.x, pose.y, 1.0)
        if isinstance(height, np.ndarray):
            return pose.place(points) + height[:, None] * rise
        return pose.place(points) + height * rise

    def shape(
        self, pose: Pose, points: np.ndarray, colour: Colour, height: float | np.ndarray = 0.0, measure: bool = True
    ) -> None:
        """Fill a local polygon (metres) at one height above ground or one height per corner."""
        self.fill(self.lift(pose, points, height), colour, measure)

    def strokes(
        self, pose: Pose, lines: np.ndarray, colour: Colour, thickness: int = 1, height: float | np.ndarray = 0.0
    ) -> None:
        """Draw local segments float [n,2,2] in metres, thickness in pixels."""
        placed = self.lift(pose, lines.reshape(-1, 2), height)
        fixed = np.round(placed * (1 << SHIFT)).astype(np.int32).reshape(-1, 2, 2)
        cv2.polylines(self.picture, list(fixed), False, colour, thickness, cv2.LINE_AA, SHIFT)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """Fill a disc in scene pixels."""
        centre = (round(x * (1 << SHIFT)), round(y * (1 << SHIFT)))
        cv2.circle(self.picture, centre, round(radius * (1 << SHIFT)), colour, -1, cv2.LINE_AA, SHIFT)

    def cast(self, pose: Pose, points: np.ndarray, height: float, bottom: float = 0.0) -> None:
        """Add the shadow of a prism (local outline, between two heights in metres) to the mask."""
        placed = pose.place(points)
        sun = np.array(self.sun) * self.scale
        both = np.concatenate((placed + sun * bottom, placed + sun * height)).astype(np.float32)
        hull = cv2.convexHull(both)[:, 0]
        fixed = np.round(hull * (1 << SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(self.shade, fixed, 255, cv2.LINE_AA, SHIFT)

    def apply_shade(self, strength: float, softness: float) -> None:
        """Darken the picture where shadows were cast, then clear the mask.

        Args:
            strength: 0 (no sun) to 1 (black shadows).
            softness: blur of the edges, pixels.
        """
        if strength > 0.02:
            mask = cv2.GaussianBlur(self.shade, (0, 0), softness) if softness > 0.3 else self.shade
            # The blue sky lights shadows, so blue fades least.
            gains = np.array((1.0, 0.96, 0.86)) * strength
            mask3 = cv2.merge([mask, mask, mask])
            factor = 255 - cv2.multiply(mask3, (*gains, 0.0))
            cv2.multiply(self.picture, factor, self.picture, 1 / 255)
        self.shade[:] = 0
