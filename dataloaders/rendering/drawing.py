"""Drawing a lit solid: parallel rays, intersected with its planes and quadrics in NumPy.

Rays are parallel to the camera's z axis, so along a ray every surface is a polynomial whose coefficients are
plain numbers: the depth of a plane in every pixel is one broadcast sum of a row and a column.

The same input gives the same pixels on any machine. Operations per pixel are `+ - * / sqrt`, comparison and
floor, which IEEE 754 defines to the last bit; there is no matrix product, no `sin`, no `exp` and no sum along
an axis of an array, whose last bit depends on the processor.
"""

import math
from dataclasses import dataclass

import numpy as np

from lethe.dataloaders.rendering.solids import Matrix, Plane, Quadric, Solid, Vector, dot, turned, vector

Crossing = tuple[np.ndarray | None, np.ndarray | None]
"""Depths at which each ray enters and leaves a body; None where it does so at no finite depth."""

_FLATTEST = 1e-3
"""A surface nearly parallel to the rays is treated as being this steep: no division by nearly nothing."""


@dataclass(frozen=True)
class Light:
    """A distant lamp and ambient light."""

    direction: Vector
    """Towards the lamp, in the camera's frame (x right, y up, z towards the camera); length 1."""
    colour: Vector
    ambient: float


@dataclass(frozen=True)
class Material:
    """Two colours mixed by a pattern in the solid's own coordinates, and the strength of the highlight."""

    colours: tuple[Vector, Vector]
    pattern: str
    """One of `PATTERNS`."""
    period: float
    gloss: float


PATTERNS = ("plain", "stripes", "checks", "halves", "blotches")


@dataclass(frozen=True)
class Pose:
    """The position of a solid: turned by `rotation` (solid to camera), then scaled, then moved to a pixel."""

    rotation: Matrix
    scale: float
    """Pixels per unit of the solid's coordinates."""
    centre: tuple[float, float]
    """(x, y) in pixels from the left and the top edge."""


def draw(solid: Solid, pose: Pose, light: Light, material: Material, image: np.ndarray) -> None:
    """Draw the solid over `image` (float32 [H, W, 3], 0 to 1), in place; a pixel averages 2 x 2 rays."""
    height, width = image.shape[:2]
    reach = 1.5 * pose.scale
    left, right = _clip(pose.centre[0] - reach, width), _clip(pose.centre[0] + reach + 1, width)
    top, bottom = _clip(pose.centre[1] - reach, height), _clip(pose.centre[1] + reach + 1, height)
    rays_x = np.arange(2 * left, 2 * right, dtype=np.float32)[None, :] * np.float32(0.5)
    rays_y = np.arange(2 * top, 2 * bottom, dtype=np.float32)[:, None] * np.float32(0.5)
    x = (rays_x + np.float32(0.25 - pose.centre[0])) / np.float32(pose.scale)
    y = (np.float32(pose.centre[1] - 0.25) - rays_y) / np.float32(pose.scale)

    depth, normal = _trace(solid, pose.rotation, x, y)
    hit = depth < np.inf
    depth[~hit] = 0
    mix = _pattern(material, pose.rotation, x, y, depth)
    diffuse, shine = _lighting(normal, light)
    cover = _average(hit.astype(np.float32))
    patch = image[top:bottom, left:right]
    for channel in range(3):
        first, second = (np.float32(colour[channel]) for colour in material.colours)
        lamp = np.float32(light.colour[channel])
        colour = (first + (second - first) * mix) * (np.float32(light.ambient) + lamp * diffuse)
        colour += np.float32(material.gloss) * lamp * shine
        colour *= hit
        patch[..., channel] *= 1 - cover
        patch[..., channel] += _average(np.minimum(colour, 1))


def _clip(pixel: float, size: int) -> int:
    return min(max(math.floor(pixel), 0), size)


def _average(rays: np.ndarray) -> np.ndarray:
    """[2H, 2W] rays to [H, W] pixels."""
    left, right = rays[:, ::2], rays[:, 1::2]
    mean: np.ndarray = (left[::2] + left[1::2] + (right[::2] + right[1::2])) * np.float32(0.25)
    return mean


def _trace(
    solid: Solid, rotation: Matrix, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Depth of the first hit ([H, W], infinite where there is none) and the normal there (three [H, W])."""
    shape = np.broadcast_shapes(x.shape, y.shape)
    best = np.full(shape, np.inf, np.float32)
    surface = np.zeros(shape, np.uint8)
    normals: list[Vector] = []
    quadrics: list[tuple[int, Matrix, Vector]] = []
    for piece in solid:
        near = np.full(shape, -np.inf, np.float32)
        far = np.full(shape, np.inf, np.float32)
        entered = np.zeros(shape, np.uint8)
        for body in piece:
            if isinstance(body, Plane):
                normals.append(turned(rotation, body.normal))
                entry, leave = _cross_plane(normals[-1], body.offset, x, y)
            else:
                matrix, linear = _in_camera(body, rotation)
                entry, leave = _cross_quadric(body, matrix, linear, rotation, x, y)
                quadrics.append((len(normals), matrix, linear))
                normals.append((0.0, 0.0, 1.0))
            if entry is not None:
                later = entry > near
                np.copyto(near, entry, where=later)
                np.copyto(entered, np.uint8(len(normals) - 1), where=later)
            if leave is not None:
                np.minimum(far, leave, out=far)
        first = (near < far) & (near < best)
        np.copyto(best, near, where=first)
        np.copyto(surface, entered, where=first)
    table = np.array(normals, np.float32)
    normal: list[np.ndarray] = [table[:, i][surface] for i in range(3)]
    for number, matrix, linear in quadrics:
        there = surface == number
        there &= best < np.inf
        if there.any():
            _smooth(normal, there, matrix, linear, x, y, best)
    return best, normal


def _cross_plane(normal: Vector, offset: float, x: np.ndarray, y: np.ndarray) -> Crossing:
    """Depths (entry, leave) at which the ray of each pixel crosses a plane."""
    towards = normal[2]
    if abs(towards) < _FLATTEST:
        towards = _FLATTEST if towards >= 0 else -_FLATTEST
    # A point of the ray is (x, y, -depth).
    row = np.float32(normal[0] / towards) * x + np.float32(-offset / towards)
    depth = row + np.float32(normal[1] / towards) * y
    return (depth, None) if towards > 0 else (None, depth)


def _in_camera(body: Quadric, rotation: Matrix) -> tuple[Matrix, Vector]:
    """The quadric's matrix and linear part in the camera's frame."""
    scaled = [vector(x * factor for x, factor in zip(row, body.square, strict=True)) for row in rotation]
    first, second, third = (vector(dot(row, other) for other in rotation) for row in scaled)
    return (first, second, third), turned(rotation, body.linear)


def _cross_quadric(
    body: Quadric, matrix: Matrix, linear: Vector, rotation: Matrix, x: np.ndarray, y: np.ndarray
) -> Crossing:
    """Depths (entry, leave) at which each pixel's ray crosses a quadric: a·depth² - 2·b·depth + c = 0."""
    a = matrix[2][2]
    if abs(a) < _FLATTEST:
        a = _FLATTEST if a >= 0 else -_FLATTEST
    b = (np.float32(matrix[0][2]) * x + np.float32(0.5 * linear[2])) + np.float32(matrix[1][2]) * y
    row = (np.float32(matrix[0][0]) * x + np.float32(linear[0])) * x + np.float32(body.constant)
    column = (np.float32(matrix[1][1]) * y + np.float32(linear[1])) * y
    c = row + column + np.float32(2.0 * matrix[0][1]) * x * y
    square = b * b - np.float32(a) * c
    root = np.sqrt(np.maximum(square, 0))
    if a < 0:
        # Seen along its axis, a cone's drawn half is entered or left once and for all.
        if turned(rotation, body.inward)[2] < 0:
            return (b - root) / np.float32(a), None
        return None, (b + root) / np.float32(a)
    entry = (b - root) / np.float32(a)
    entry[square < 0] = np.inf
    return entry, (b + root) / np.float32(a)


def _smooth(
    normal: list[np.ndarray], there: np.ndarray, matrix: Matrix, linear: Vector, x: np.ndarray, y: np.ndarray,
    depth: np.ndarray,
) -> None:  # fmt: skip
    """Replace the normal, where `there`, by the direction in which the quadric grows."""
    points = np.broadcast_to(x, there.shape)[there], np.broadcast_to(y, there.shape)[there], -depth[there]
    slopes = []
    for i in range(3):
        slope = np.float32(2.0 * matrix[i][0]) * points[0] + np.float32(2.0 * matrix[i][1]) * points[1]
        slopes.append(slope + np.float32(2.0 * matrix[i][2]) * points[2] + np.float32(linear[i]))
    length = np.sqrt(slopes[0] * slopes[0] + slopes[1] * slopes[1] + slopes[2] * slopes[2])
    length = np.maximum(length, np.float32(1e-6))
    for component, slope in zip(normal, slopes, strict=True):
        component[there] = slope / length


def _lighting(normal: list[np.ndarray], light: Light) -> tuple[np.ndarray, np.ndarray]:
    """Lambert's diffuse light and Blinn's highlight (to the power of 16), each 0 to 1."""
    x, y, z = light.direction
    # Halfway between the lamp and the camera, which looks along -z.
    length = math.sqrt(x * x + y * y + (z + 1) * (z + 1))
    halfway = (x / length, y / length, (z + 1) / length)
    cosines = []
    for direction in (light.direction, halfway):
        parts = [component * np.float32(value) for component, value in zip(normal, direction, strict=True)]
        cosines.append(np.maximum(parts[0] + parts[1] + parts[2], 0))
    diffuse, shine = cosines
    for _ in range(4):
        shine = shine * shine
    return diffuse, shine


def _pattern(
    material: Material, rotation: Matrix, x: np.ndarray, y: np.ndarray, depth: np.ndarray
) -> np.ndarray:
    """The share of the second colour at each ray, 0 to 1."""
    if material.pattern == "plain":
        return np.zeros_like(depth)
    points = []
    for i in range(3):
        # The transposed rotation leads from the camera back into the solid.
        row = np.float32(rotation[0][i]) * x + np.float32(rotation[1][i]) * y
        points.append((row - np.float32(rotation[2][i]) * depth) / np.float32(material.period))
    u, v, w = points
    if material.pattern == "stripes":
        across = u * np.float32(0.6) + v
        return (across - np.floor(across) < 0.5).astype(np.float32)
    if material.pattern == "checks":
        # Shifted, so that no face lies on a boundary between checks.
        cells = sum(np.floor(value + np.float32(0.37)) for value in points)
        half = cells * np.float32(0.5)
        return (half - np.floor(half) > 0.25).astype(np.float32)
    if material.pattern == "halves":
        return (u + v * np.float32(0.5) + w * np.float32(0.7) > 0).astype(np.float32)
    waves = [
        np.abs(value - np.floor(value) - np.float32(0.5)) for value in (u + v, v - w, w + u * np.float32(0.7))
    ]
    return np.minimum((waves[0] + waves[1] + waves[2]) * np.float32(1.4), 1)
