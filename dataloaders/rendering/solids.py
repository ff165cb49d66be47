"""Solids as data: unions of convex pieces, each the intersection of half-spaces and quadric bodies.

Coordinates are x right, y up, z towards the camera; the solids of the benchmark are about 2 units across.
`drawing.py` draws them. Numbers are made by `+ - * /` and `math.sqrt`: `**` is not the same everywhere.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Vector = tuple[float, float, float]
Matrix = tuple[Vector, Vector, Vector]


@dataclass(frozen=True)
class Plane:
    """The half-space `normal · p <= offset`; `normal` has length 1."""

    normal: Vector
    offset: float


@dataclass(frozen=True)
class Quadric:
    """The body `square · p² + linear · p + constant <= 0` (p² by coordinate)."""

    square: Vector
    linear: Vector
    constant: float
    inward: Vector = (0.0, 0.0, 0.0)
    """Of a cone: the direction from its tip into the half that is drawn."""


Piece = tuple[Plane | Quadric, ...]
Solid = tuple[Piece, ...]


def vector(values: Iterable[float]) -> Vector:
    """The vector of three numbers."""
    x, y, z = values
    return x, y, z


def _unit(axis: int) -> Vector:
    return vector(float(i == axis) for i in range(3))


def _negative(a: Vector) -> Vector:
    return vector(-value for value in a)


def prism(corners: Sequence[tuple[float, float]], low: float, high: float, axis: int = 1) -> Piece:
    """A prism along `axis` from `low` to `high`; `corners` are its convex outline, counter-clockwise.

    A corner's two numbers are the two other coordinates, in the cyclic order x, y, z, x, y.
    """
    return tuple(_prism_planes(corners, low, high, axis))


def _prism_planes(corners: Sequence[tuple[float, float]], low: float, high: float, axis: int) -> list[Plane]:
    """The planes of a prism: the upper end, the lower end, then the sides."""
    along = _unit(axis)
    planes = [Plane(along, high), Plane(_negative(along), -low)]
    for (u, v), (next_u, next_v) in zip(corners, [*corners[1:], corners[0]], strict=True):
        along_u, along_v = next_u - u, next_v - v
        length = math.sqrt(along_u * along_u + along_v * along_v)
        normal = [0.0, 0.0, 0.0]
        normal[(axis + 1) % 3] = along_v / length
        normal[(axis + 2) % 3] = -along_u / length
        planes.append(Plane(vector(normal), (u * along_v - v * along_u) / length))
    return planes


def box(low: Vector, high: Vector) -> Piece:
    """The box between two opposite corners."""
    (x, y, z), (right, top, front) = low, high
    return prism([(z, x), (front, x), (front, right), (z, right)], y, top)


def polygon(sides: int, radius: float, first_degrees: float = 0.0) -> list[tuple[float, float]]:
    """The corners of a regular polygon around the origin, counter-clockwise, the first at that angle."""
    angles = [first_degrees + 360.0 * side / sides for side in range(sides)]
    return [(radius * cosine(angle), radius * sine(angle)) for angle in angles]


def pyramid(corners: Sequence[tuple[float, float]], low: float, apex: float) -> Piece:
    """A pyramid that stands on y = `low` with its tip at (0, `apex`, 0); corners as of a prism.

    With `apex` below `low` it hangs from y = `low`.
    """
    up = 1.0 if apex > low else -1.0
    planes = [Plane((0.0, -up, 0.0), -up * low)]
    for side in _prism_planes(corners, 0.0, 1.0, axis=1)[2:]:
        # The slanted face goes through the edge and the tip: distance and height give its slope.
        rise = up * (apex - low)
        length = math.sqrt(rise * rise + side.offset * side.offset)
        normal = tuple(value * rise / length for value in side.normal)
        slanted = (normal[0], up * side.offset / length, normal[2])
        planes.append(Plane(slanted, slanted[1] * apex))
    return tuple(planes)


def ball(radius: float, centre: Vector = (0.0, 0.0, 0.0)) -> Piece:
    """A ball."""
    distance = dot(centre, centre)
    linear = vector(-2.0 * value for value in centre)
    return (Quadric((1.0, 1.0, 1.0), linear, distance - radius * radius),)


def cylinder(radius: float, low: float, high: float, axis: int = 1, centre: Vector = (0, 0, 0)) -> Piece:
    """A cylinder along `axis` from `low` to `high`, whose axis goes through `centre`."""
    square = vector(float(i != axis) for i in range(3))
    linear = vector(-2.0 * centre[i] * square[i] for i in range(3))
    constant = dot(square, vector(value * value for value in centre)) - radius * radius
    along = _unit(axis)
    ends = Plane(along, high), Plane(_negative(along), -low)
    return (Quadric(square, linear, constant), *ends)


def cone(radius: float, low: float, apex: float, end: float | None = None) -> Piece:
    """A cone around the y axis: `radius` at y = `low`, its tip at y = `apex`, cut at y = `end` if given."""
    up = 1.0 if apex > low else -1.0
    slope = (radius * radius) / ((apex - low) * (apex - low))
    side = Quadric((1.0, -slope, 1.0), (0.0, 2.0 * slope * apex, 0.0), -slope * apex * apex, (0.0, -up, 0.0))
    end = apex if end is None else end
    return (side, Plane((0.0, up, 0.0), up * end), Plane((0.0, -up, 0.0), -up * low))


def stretched(solid: Solid, factors: Vector) -> Solid:
    """The solid with its coordinates multiplied by `factors`, each above 0."""

    def stretch(surface: Plane | Quadric) -> Plane | Quadric:
        if isinstance(surface, Plane):
            normal = vector(value / factor for value, factor in zip(surface.normal, factors, strict=True))
            length = math.sqrt(dot(normal, normal))
            return Plane(vector(value / length for value in normal), surface.offset / length)
        square = vector(
            value / (factor * factor) for value, factor in zip(surface.square, factors, strict=True)
        )
        linear = vector(value / factor for value, factor in zip(surface.linear, factors, strict=True))
        return Quadric(square, linear, surface.constant, surface.inward)

    return tuple(tuple(stretch(surface) for surface in piece) for piece in solid)


def dot(a: Vector, b: Vector) -> float:
    """The inner product (not by `sum`, which compensates from Python 3.12 on: another last bit)."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def sine(degrees: float) -> float:
    """The sine, rounded: C libraries differ in its last bit."""
    return round(math.sin(math.radians(degrees)), 9)


def cosine(degrees: float) -> float:
    """The cosine, rounded: C libraries differ in its last bit."""
    return round(math.cos(math.radians(degrees)), 9)


def turn(axis: int, degrees: float) -> Matrix:
    """The rotation around a coordinate axis."""
    rows = [[float(i == j) for j in range(3)] for i in range(3)]
    u, v = (axis + 1) % 3, (axis + 2) % 3
    rows[u][u] = rows[v][v] = cosine(degrees)
    rows[v][u] = sine(degrees)
    rows[u][v] = -rows[v][u]
    x, y, z = map(vector, rows)
    return x, y, z


def product(a: Matrix, b: Matrix) -> Matrix:
    """The rotation that does `b`, then `a`."""
    columns = [vector(column) for column in zip(*b, strict=True)]
    x, y, z = (vector(dot(row, column) for column in columns) for row in a)
    return x, y, z


def turned(rotation: Matrix, direction: Vector) -> Vector:
    """`direction` after the rotation."""
    return vector(dot(row, direction) for row in rotation)
