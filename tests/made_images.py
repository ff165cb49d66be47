"""A small tree of CORe50's kind, with its dirmap: what `check` and `show` look at in tests."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lethe.dataloaders.index import find
from lethe.dataloaders.index.spec import Expected

COUNTS = Expected(
    classes=2,
    objects_per_class=(2, 2),
    sessions_per_object=(2, 2),
    images_per_session=(3, 3),
    images_per_class=(12, 12),
)
DATASET = replace(
    find.get("core50_mini"),
    classes=("light", "dark"),
    test_sessions=(2,),
    iid_task_images=6,
    task_classes=1,
    task_instances=2,
    instance_images=3,
    image_folder="",
    expected=COUNTS,
)
BRIGHTNESS = {1: 250, 2: 10}


def make(root: Path) -> pd.DataFrame:
    """Write 24 grey images below `root`; returns their dirmap."""
    rows = []
    for class_ in (1, 2):
        for object_ in (2 * class_ - 1, 2 * class_):
            for session in (1, 2):
                for frame in (1, 2, 3):
                    name = f"{class_}_{object_}_{session}_{frame}.png"
                    root.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(np.full((8, 8, 3), BRIGHTNESS[class_], np.uint8)).save(root / name)
                    rows.append((class_, object_, session, frame, name))
    return pd.DataFrame(rows, columns=["class", "object", "session", "im_num", "im_path"])
