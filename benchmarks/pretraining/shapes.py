"""The images that the small network is pretrained on: solids of which none is a class of `core50_mini`."""

import hashlib
from functools import lru_cache

import numpy as np

from lethe.dataloaders.datasets.core50_mini import SIZE, to_bytes
from lethe.dataloaders.rendering import drawing, scenery, solids
from lethe.dataloaders.rendering.scenery import uniform
from lethe.dataloaders.rendering.solids import ball, box, cone, cylinder, polygon, prism, pyramid


@lru_cache(maxsize=1)
def shapes() -> dict[str, solids.Solid]:
    """Solids by name, each about 2 units across."""
    feet = [(x, z) for x in (-0.5, 0.5) for z in (-0.5, 0.5)]
    triangle = polygon(3, 0.95)
    gable = [(-0.65, 0.1), (0.65, 0.1), (0.0, 0.85)]
    return {
        "triangular prism": (prism(polygon(3, 0.85), -0.7, 0.7),),
        "hexagonal plate": (prism(polygon(6, 0.95), -0.2, 0.2),),
        "square pyramid": (pyramid(polygon(4, 1.0, 45), -0.65, 0.85),),
        "tetrahedron": (pyramid(polygon(3, 1.0), -0.45, 0.95),),
        "hammer": (cylinder(0.14, -0.9, 0.5), box((-0.6, 0.4, -0.25), (0.6, 0.85, 0.25))),
        "h": (
            box((-0.8, -0.85, -0.25), (-0.35, 0.85, 0.25)),
            box((0.35, -0.85, -0.25), (0.8, 0.85, 0.25)),
            box((-0.35, -0.2, -0.25), (0.35, 0.25, 0.25)),
        ),
        "capsule": (ball(0.42, (0, -0.5, 0)), ball(0.42, (0, 0.5, 0)), cylinder(0.42, -0.5, 0.5)),
        "frustum": (cone(0.9, -0.55, 1.3, 0.5),),
        "hemisphere": ((*ball(0.95, (0, -0.4, 0)), solids.Plane((0.0, -1.0, 0.0), 0.4)),),
        "wedge": (prism([(-0.85, -0.6), (0.85, -0.6), (0.85, 0.7)], -0.6, 0.6, axis=2),),
        "u": (
            box((-0.8, -0.8, -0.35), (-0.4, 0.8, 0.35)),
            box((0.4, -0.8, -0.35), (0.8, 0.8, 0.35)),
            box((-0.4, -0.8, -0.35), (0.4, -0.35, 0.35)),
        ),
        "t": (box((-0.85, 0.35, -0.3), (0.85, 0.8, 0.3)), box((-0.25, -0.85, -0.3), (0.25, 0.35, 0.3))),
        "l": (box((-0.6, -0.8, -0.35), (-0.1, 0.85, 0.35)), box((-0.1, -0.8, -0.35), (0.75, -0.3, 0.35))),
        "z": (
            box((-0.9, 0.25, -0.35), (0.25, 0.7, 0.35)),
            box((-0.25, -0.25, -0.35), (0.25, 0.25, 0.35)),
            box((-0.25, -0.7, -0.35), (0.9, -0.25, 0.35)),
        ),
        "mushroom": (
            (*ball(0.85), solids.Plane((0.0, -1.0, 0.0), -0.1)),
            cylinder(0.28, -0.85, 0.1),
        ),
        "hourglass": (cone(0.65, -0.9, 0.1), cone(0.65, 0.9, -0.1)),
        "star": (prism(triangle, -0.25, 0.25), prism(polygon(3, 0.95, 180), -0.25, 0.25)),
        "chair": (
            *(box((x - 0.1, -0.9, z - 0.1), (x + 0.1, -0.1, z + 0.1)) for x, z in feet),
            box((-0.6, -0.1, -0.6), (0.6, 0.08, 0.6)),
            box((-0.6, 0.08, -0.6), (0.6, 0.95, -0.42)),
        ),
        "arrow": (
            box((-0.95, -0.2, -0.25), (0.15, 0.2, 0.25)),
            prism([(0.15, -0.6), (0.95, 0.0), (0.15, 0.6)], -0.25, 0.25, axis=2),
        ),
        "snowman": (ball(0.58, (0, -0.4, 0)), ball(0.4, (0, 0.42, 0)), ball(0.2, (0, 0.9, 0))),
        "house": (box((-0.65, -0.75, -0.6), (0.65, 0.1, 0.6)), prism(gable, -0.7, 0.7, axis=2)),
        "arch": (
            box((-0.85, -0.8, -0.3), (-0.4, 0.35, 0.3)),
            box((0.4, -0.8, -0.3), (0.85, 0.35, 0.3)),
            box((-0.85, 0.35, -0.3), (0.85, 0.75, 0.3)),
        ),
        "lollipop": (cylinder(0.55, -0.15, 0.15, axis=2, centre=(0, 0.4, 0)), cylinder(0.11, -0.95, -0.1)),
        "tripod": (
            *(box((x - 0.09, -0.9, z - 0.09), (x + 0.09, 0.25, z + 0.09)) for x, z in polygon(3, 0.55)),
            cylinder(0.75, 0.2, 0.42),
        ),
        "tower": (cylinder(0.45, -0.9, 0.2), cone(0.7, 0.2, 0.95)),
        "egg cup": (cone(0.5, -0.9, 0.15), (*ball(0.7, (0, 0.6, 0)), solids.Plane((0.0, 1.0, 0.0), 0.6))),
        "sundial": (
            box((-0.9, -0.55, -0.9), (0.9, -0.3, 0.9)), pyramid(polygon(4, 0.5, 45), -0.3, 0.75),
        ),
        "pedestal": (box((-0.75, -0.85, -0.75), (0.75, -0.45, 0.75)), cylinder(0.4, -0.45, 0.85)),
        "bolt": (prism(polygon(6, 0.75), 0.3, 0.75), cylinder(0.3, -0.9, 0.3)),
    }  # fmt: skip


def sample(seed: int, number: int) -> np.ndarray:
    """Image `number` of the pretraining set, uint8 [64, 64, 3]; its label is `number` modulo the shapes."""
    digest = hashlib.sha256(f"pretrain {seed} {number}".encode()).digest()
    random = np.random.RandomState(int.from_bytes(digest[:4], "little"))
    kinds = list(shapes().values())
    factors = uniform(random, 0.85, 1.15), uniform(random, 0.85, 1.15), uniform(random, 0.85, 1.15)
    solid = solids.stretched(kinds[number % len(kinds)], factors)
    ground = scenery.BACKGROUNDS[random.randint(len(scenery.BACKGROUNDS))]
    image = scenery.background(random, SIZE, ground, clutter=int(random.randint(8)))
    colours = scenery.random_colour(random), scenery.random_colour(random)
    pattern = drawing.PATTERNS[random.randint(len(drawing.PATTERNS))]
    material = drawing.Material(colours, pattern, uniform(random, 0.3, 0.7), uniform(random, 0, 0.5))
    lean = solids.product(solids.turn(2, uniform(random, -28, 28)), solids.turn(0, uniform(random, 14, 52)))
    rotation = solids.product(lean, solids.turn(1, uniform(random, 0, 360)))
    centre = uniform(random, 25, 39), uniform(random, 25, 39)
    pose = drawing.Pose(rotation, uniform(random, 16, 25), centre)
    drawing.draw(solid, pose, scenery.random_light(random), material, image)
    return to_bytes(image)
