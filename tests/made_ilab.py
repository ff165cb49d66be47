"""Image dumps in iLab-2M-Light's naming: names alone, or small JPEG files."""

import random
from pathlib import Path

import numpy as np
from PIL import Image

from lethe.dataloaders.datasets import ilab2mlight
from lethe.dataloaders.index import find

CLASSES = (*find.get("ilab2mlight").classes, ilab2mlight.LEFT_OUT)


def name(class_: str, instance: int, background: int, image: int) -> str:
    """The name of a session's image number `image`, from 0: cameras turn fastest, then rotations, then lights."""
    camera, rotation, lighting = image % 11, image // 11 % 8, image // 88
    return f"{class_}-i{instance:04d}-b{background:04d}-c{camera:02d}-r{rotation:02d}-l{lighting}-f0.jpg"


def names(seed: int = 0, objects: int = 30, sessions: int = 9, images: int = 18) -> list[str]:
    """Names in which every class has about `objects` objects of about so many sessions and images.

    Instances and backgrounds have gaps; some sessions and some objects are too small.
    """
    generator = random.Random(seed)
    made = []
    for class_ in CLASSES:
        for instance in sorted(generator.sample(range(1, 2 * objects + 1), objects)):
            short = generator.random() < 0.05
            for background in sorted(generator.sample(range(300), max(1, sessions - 3 * short))):
                count = images - (4 if generator.random() < 0.02 else generator.randrange(3))
                chosen = sorted(generator.sample(range(3 * images), max(1, count)))
                made += [name(class_, instance, background, image) for image in chosen]
    generator.shuffle(made)
    return made


def write(root: Path, sizes: ilab2mlight.Sizes, spare: int = 1) -> Path:
    """A tree with JPEG files of 16 px, `spare` more of each thing than `sizes` needs; returns `root`.

    A class has a colour of its own, so that there is something to learn.
    """
    folder = root / ilab2mlight.FOLDER
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for class_ in CLASSES:
        colour = generator.integers(0, 256, 3)
        for instance in range(1, sizes.objects + spare + 1):
            for background in range(1, sizes.sessions + spare + 1):
                for image in range(sizes.images + spare):
                    noise = generator.integers(-20, 21, (16, 16, 3))
                    pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
                    path = folder / name(class_, 3 * instance, 7 * background, image)
                    Image.fromarray(pixels).save(path, quality=90)
    return root
