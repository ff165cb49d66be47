"""The surroundings of a drawn solid: colours, lamps and backgrounds.

Random numbers come from the `RandomState` argument, whose streams NumPy has frozen; the arithmetic is as exact as in
`drawing.py`.
"""

import math

import numpy as np

from lethe.dataloaders.rendering.drawing import Light
from lethe.dataloaders.rendering.solids import Vector

BACKGROUNDS = ("gradient", "stripes", "tiles", "grain", "cloth", "horizon")


def uniform(random: np.random.RandomState, low: float, high: float) -> float:
    """A number between `low` and `high`."""
    return low + (high - low) * float(random.random_sample())


def hsv(hue: float, saturation: float, value: float) -> Vector:
    """A colour as (red, green, blue), 0 to 1, from hue (turns), saturation and value."""

    def channel(offset: float) -> float:
        k = (offset + 6.0 * hue) % 6.0
        return value - value * saturation * max(0.0, min(k, 4.0 - k, 1.0))

    return channel(5.0), channel(3.0), channel(1.0)


def random_colour(random: np.random.RandomState, saturation: float = 1.0) -> Vector:
    """Any colour that is neither black nor glaring, up to that saturation."""
    hue, depth = uniform(random, 0, 1), uniform(random, 0.05, 1) * saturation
    return hsv(hue, depth, uniform(random, 0.25, 0.95))


def random_light(random: np.random.RandomState) -> Light:
    """A lamp above and on the camera's side, of any tint from blue to orange."""
    x, y, z = uniform(random, -1, 1), uniform(random, 0.25, 1), uniform(random, 0.3, 1)
    length = math.sqrt(x * x + y * y + z * z)
    strength, warmth = uniform(random, 0.6, 0.95), uniform(random, -0.18, 0.18)
    colour = (strength * (1 + warmth), strength, strength * (1 - warmth))
    return Light((x / length, y / length, z / length), colour, uniform(random, 0.22, 0.42))


def noise(random: np.random.RandomState, size: int, cells: int) -> np.ndarray:
    """Smooth noise, float32 [size, size], 0 to 1: random values at `cells` + 1 points a side, and between."""
    lattice = random.random_sample((cells + 1, cells + 1)).astype(np.float32)
    place = np.arange(size, dtype=np.float32) * np.float32(cells / size)
    cell = np.floor(place).astype(np.int64)
    part = place - np.floor(place)
    part = part * part * (3 - 2 * part)
    rows = lattice[cell] + (lattice[cell + 1] - lattice[cell]) * part[:, None]
    smooth: np.ndarray = rows[:, cell] + (rows[:, cell + 1] - rows[:, cell]) * part[None, :]
    return smooth


def background(random: np.random.RandomState, size: int, kind: str, clutter: int) -> np.ndarray:
    """A background, float32 [size, size, 3], 0 to 1: a ground of that kind with `clutter` flat shapes."""
    saturation = uniform(random, 0.2, 0.8)
    first, second = random_colour(random, saturation), random_colour(random, saturation)
    ground = _ground(random, size, kind)
    shade = np.float32(0.85) + np.float32(0.3) * (noise(random, size, 3) - np.float32(0.5))
    image = np.empty((size, size, 3), np.float32)
    for channel in range(3):
        a, b = np.float32(first[channel]), np.float32(second[channel])
        image[..., channel] = (a + (b - a) * ground) * shade
    for _ in range(clutter):
        _put_thing(random, image)
    return image


def _ground(random: np.random.RandomState, size: int, kind: str) -> np.ndarray:
    """The share of the second colour at each pixel, float32 [size, size]."""
    ground: np.ndarray
    pixel = np.arange(size, dtype=np.float32)
    x, y = pixel[None, :], pixel[:, None]
    slope_x, slope_y = (np.float32(uniform(random, -1, 1)) for _ in range(2))
    period = np.float32(uniform(random, 7, 20))
    along = x * slope_x + y * slope_y
    fine = noise(random, size, size // 3)
    if kind == "gradient":
        low, high = along.min(), along.max()
        ground = (along - low) / (high - low + 1)
        return ground
    if kind == "stripes":
        wave = along / period
        ground = (wave - np.floor(wave) < 0.5) * np.float32(0.5) + fine * np.float32(0.15)
        return ground
    if kind == "tiles":
        joint_x, joint_y = x / period - np.floor(x / period), y / period - np.floor(y / period)
        joint = (joint_x < 0.14) | (joint_y < 0.14)
        ground = joint * np.float32(0.6) + noise(random, size, 8) * np.float32(0.3)
        return ground
    if kind == "grain":
        return fine * np.float32(0.6) + noise(random, size, size // 10) * np.float32(0.4)
    if kind == "cloth":
        u, v = (
            x / np.float32(4) - np.floor(x / np.float32(4)),
            y / np.float32(4) - np.floor(y / np.float32(4)),
        )
        ground = np.abs(u - v) * np.float32(0.5) + noise(random, size, 5) * np.float32(0.4)
        return ground
    edge = np.float32(size * uniform(random, 0.35, 0.65))
    ground = (y + slope_x * np.float32(0.2) * x > edge) * np.float32(0.7) + fine * np.float32(0.2)
    return ground


def _put_thing(random: np.random.RandomState, image: np.ndarray) -> None:
    """Paint a slanted rectangle or an ellipse of one colour on the image, in place."""
    size = len(image)
    x = np.arange(size, dtype=np.float32)[None, :] - np.float32(uniform(random, 0, size))
    y = np.arange(size, dtype=np.float32)[:, None] - np.float32(uniform(random, 0, size))
    slant = np.float32(uniform(random, -0.6, 0.6))
    u = (x + slant * y) / np.float32(uniform(random, 3, 11))
    v = (y - slant * x) / np.float32(uniform(random, 3, 11))
    round_one = random.random_sample() < 0.4
    inside = u * u + v * v < 1 if round_one else np.maximum(np.abs(u), np.abs(v)) < 1
    colour = random_colour(random, 0.8)
    for channel in range(3):
        np.copyto(image[..., channel], np.float32(colour[channel]), where=inside)
