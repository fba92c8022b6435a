"""Terrain: ground textures made of multi-octave noise and colour palettes."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np

from demo.scenes.brush import SHIFT

ATLAS_SIZE = 1024
"""Side of a noise atlas, pixels."""
MINERAL = ("asphalt", "bitumen", "concrete", "gravel", "snow", "paving")
PALETTES: dict[str, list[tuple[int, int, int]]] = {
    "grass": [(58, 74, 36), (84, 104, 50), (104, 122, 62), (128, 140, 80)],
    "lawn": [(70, 98, 44), (88, 120, 54), (104, 136, 64), (122, 150, 78)],
    "meadow": [(88, 92, 48), (118, 118, 64), (140, 134, 80), (164, 154, 100)],
    "forest": [(34, 48, 26), (50, 66, 34), (66, 82, 42), (86, 98, 54)],
    "dirt": [(98, 76, 54), (124, 98, 70), (144, 118, 88), (168, 142, 110)],
    "sand": [(166, 144, 108), (188, 166, 128), (204, 184, 148), (220, 204, 172)],
    "wheat": [(150, 128, 70), (176, 152, 88), (194, 170, 104), (208, 188, 126)],
    "soil": [(72, 54, 40), (92, 70, 52), (110, 86, 64), (128, 104, 80)],
    "asphalt": [(62, 62, 64), (76, 76, 78), (88, 88, 88), (102, 101, 100)],
    "bitumen": [(44, 45, 49), (54, 55, 59), (64, 65, 68), (76, 76, 78)],
    "concrete": [(138, 134, 128), (154, 150, 143), (166, 162, 155), (180, 176, 169)],
    "paving": [(146, 128, 114), (162, 144, 128), (174, 156, 140), (188, 172, 156)],
    "gravel": [(112, 106, 98), (132, 126, 116), (150, 143, 132), (172, 164, 152)],
    "water": [(26, 52, 58), (34, 66, 72), (44, 80, 84), (60, 98, 100)],
    "snow": [(196, 202, 212), (212, 216, 224), (226, 229, 234), (240, 241, 244)],
}
"""Colours (RGB) of each material from the lowest to the highest noise value."""


@functools.cache
def noise_atlas(kind: str) -> np.ndarray:
    """Tileable noise uint8 [1024,1024], the same in every process.

    Args:
        kind: "cloud" (smooth to medium), "rough" (medium to fine) or "grain".
    """
    beta = {"cloud": 1.55, "rough": 0.95, "grain": 0.35}[kind]
    random = np.random.default_rng({"cloud": 11, "rough": 12, "grain": 13}[kind])
    # Noise with a power-law spectrum contains all octaves and tiles without seams.
    fy = np.fft.fftfreq(ATLAS_SIZE)[:, None]
    fx = np.fft.rfftfreq(ATLAS_SIZE)[None]
    radius = np.hypot(fx, fy)
    radius[0, 0] = 1.0
    spectrum = np.fft.rfft2(random.standard_normal((ATLAS_SIZE, ATLAS_SIZE))) / radius**beta
    spectrum[0, 0] = 0
    field = np.fft.irfft2(spectrum, (ATLAS_SIZE, ATLAS_SIZE))
    return np.clip(field / field.std() * 48 + 128, 0, 255).astype(np.uint8)


def noise(
    random: np.random.Generator,
    kind: str,
    width: int,
    height: int,
    zoom: float,
    stretch: float = 1.0,
    angle: float | None = None,
) -> np.ndarray:
    """Cut a random patch of an atlas.

    Args:
        random: source of the place and angle.
        kind: atlas name.
        width: columns.
        height: rows.
        zoom: picture pixels per atlas pixel.
        stretch: additional zoom along the angle; makes streaks.
        angle: radians; random where None.

    Returns:
        uint8 [height,width].
    """
    turn = random.uniform(0, 2 * math.pi) if angle is None else angle
    c, s = math.cos(turn), math.sin(turn)
    ax, ay = 1 / (zoom * stretch), 1 / zoom
    x0, y0 = random.uniform(0, ATLAS_SIZE, 2)
    matrix = np.array([[c * ax, s * ax, x0], [-s * ay, c * ay, y0]], np.float64)
    return cv2.warpAffine(
        noise_atlas(kind),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_WRAP,
    )


def static_noise(random: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Pixel-sized noise uint8 [height,width], cut from the tiled atlas."""
    x, y = (int(value) for value in random.integers(0, ATLAS_SIZE, 2))
    rows, columns = -(-(y + height) // ATLAS_SIZE), -(-(x + width) // ATLAS_SIZE)
    return np.tile(noise_atlas("grain"), (rows, columns))[y : y + height, x : x + width]


@functools.cache
def palette(name: str) -> np.ndarray:
    """Lookup table uint8 [256,1,3] of a material."""
    stops = np.array(PALETTES[name], np.float64)
    at = np.linspace(40, 215, len(stops))
    table = np.stack([np.interp(np.arange(256), at, stops[:, c]) for c in range(3)], 1)
    return table.astype(np.uint8)[:, None, :]


class Ground:
    """Paints materials over polygons of a picture."""

    def __init__(self, random: np.random.Generator, width: int, height: int, scale: float) -> None:
        """Prepare the noise fields shared by all materials of a scene.

        Args:
            random: source of randomness.
            width: columns.
            height: rows.
            scale: pixels per metre.
        """
        self.random, self.width, self.height, self.scale = random, width, height, scale
        coarse = noise(random, "cloud", width, height, scale * random.uniform(0.08, 0.25))
        rough = noise(random, "rough", width, height, max(1.0, scale * 0.09))
        self.field = cv2.addWeighted(coarse, 0.45, rough, 0.55, 0)
        self.smooth = cv2.addWeighted(coarse, 0.6, rough, 0.25, 20)
        # Mineral surfaces stay grey; plants and soils vary in colour.
        self.hue = {
            name: random.uniform(0.88, 1.1) * (1 + random.uniform(-1, 1, 3) * (0.02 if name in MINERAL else 0.08))
            for name in PALETTES
        }

    def texture(self, name: str, streaks: float | None = None) -> np.ndarray:
        """Colour the field as a material.

        Args:
            name: palette.
            streaks: direction of furrows in radians, or None.

        Returns:
            uint8 [H,W,3] RGB.
        """
        field = self.smooth if name in ("asphalt", "bitumen", "concrete", "water", "snow") else self.field
        if streaks is not None:
            lines = noise(self.random, "rough", self.width, self.height, max(1.2, self.scale * 0.16), 40.0, streaks)
            rows = self._furrows(streaks)
            field = cv2.addWeighted(cv2.addWeighted(field, 0.5, lines, 0.5, 0), 0.75, rows, 0.25, 0)
        table = np.clip(palette(name) * self.hue[name], 0, 255).astype(np.uint8)
        return cv2.LUT(cv2.merge([field, field, field]), table.reshape(1, 256, 3))

    def _furrows(self, angle: float) -> np.ndarray:
        """Regular stripes across a direction, uint8 [H,W]."""
        period = max(4.0, self.scale * float(self.random.choice([0.6, 0.9, 1.4])))
        y, x = np.arange(self.height, dtype=np.float32), np.arange(self.width, dtype=np.float32)
        phase = (y[:, None] * math.cos(angle) - x[None] * math.sin(angle)) * (2 * math.pi / period)
        return ((np.sin(phase) + 1) * 127.5).astype(np.uint8)

    def paint(
        self,
        picture: np.ndarray,
        points: np.ndarray | None,
        name: str,
        streaks: float | None = None,
        ragged: float = 0.0,
    ) -> None:
        """Paint a material.

        Args:
            picture: uint8 [H,W,3], painted in place.
            points: float [n,2] polygon in pixels, or None for everything.
            name: palette.
            streaks: direction of furrows, or None.
            ragged: how far noise eats into the edge, metres.
        """
        texture = self.texture(name, streaks)
        if points is None:
            picture[:] = texture
            return
        mask = np.zeros((self.height, self.width), np.uint8)
        cv2.fillPoly(mask, [np.round(points * (1 << SHIFT)).astype(np.int32)], 255, cv2.LINE_AA, SHIFT)
        if ragged > 0:
            soft = cv2.GaussianBlur(mask, (0, 0), max(1.0, ragged * self.scale))
            mask = cv2.convertScaleAbs(cv2.addWeighted(soft, 1.0, self.field, 0.8, -166), alpha=6.0)
            mask[soft < 8] = 0
        self.mix(picture, texture, mask)

    def mix(self, picture: np.ndarray, texture: np.ndarray, mask: np.ndarray) -> None:
        """Lay a texture over a picture where uint8 [H,W] mask is set."""
        x, y, w, h = cv2.boundingRect(mask)
        if not w or not h:
            return
        spot = (slice(y, y + h), slice(x, x + w))
        weight = mask[spot].astype(np.float32) * (1 / 255)
        picture[spot] = cv2.blendLinear(
            np.ascontiguousarray(texture[spot]), np.ascontiguousarray(picture[spot]), weight, 1 - weight
        )
