"""The generated dataset: CORe50's layout, the same pixels everywhere, and hard in the right way."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression

from lethe.common.errors import InputError
from lethe.dataloaders.datasets import core50_mini
from lethe.dataloaders.index import find

ROOT = Path(__file__).resolve().parents[2]

GOLDEN = {  # SHA-256 of the decoded pixels (RGB, row by row) at seed 0
    "s1/o1/C_01_01_010.png": "904111d4896299e14b7a2d31b0cf72ed7f5b89c54352738e6fd1e8637bf2f3cb",
    "s3/o8/C_03_08_068.png": "ebdbf5938a074cc27b67370c3915c07312e2c5af59323786c20463460f4fec42",
    "s5/o23/C_05_23_184.png": "5967688c82049b0f463615d39070f921a931a8856ceae08bcb84b20ff7057b01",
    "s9/o35/C_09_35_242.png": "20b3c8833689a71e388316a65b7c7868d26a0233497aceb022a08a8bef7d2dea",
    "s10/o44/C_10_44_126.png": "37faa1a185fc8e4f0d0cd8f98c4285415e38a10e226e3750dc58264a0f2c73ea",
    "s11/o50/C_11_50_242.png": "9fbc739886b5f68522b04c5449670b34b75fd5d948a8b8f6052c140cf7437d33",
}


def digest(path: Path) -> str:
    return hashlib.sha256(np.asarray(Image.open(path)).tobytes()).hexdigest()


def files(root: Path) -> dict[str, bytes]:
    folder = root / "core50_128x128"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("core50_mini")
    core50_mini.draw(folder, workers=2)
    return folder


@pytest.fixture
def small(monkeypatch) -> None:
    """Two of the eleven sessions."""
    monkeypatch.setattr(core50_mini, "SESSIONS", 2)


def test_layout_is_that_of_core50(root):
    expected = {
        f"s{session}/o{instance}/C_{session:02d}_{instance:02d}_{frame:03d}.png"
        for session in range(1, 12)
        for instance in range(1, 51)
        for frame in (10, 68, 126, 184, 242)
    }
    assert set(files(root)) == expected


def test_an_image_is_rgb_of_64_pixels(root):
    with Image.open(root / "core50_128x128" / "s11" / "o50" / "C_11_50_242.png") as image:
        assert (image.mode, image.size, image.format) == ("RGB", (64, 64), "PNG")


def test_pixels_are_those_of_every_machine(root):
    found = {name: digest(root / "core50_128x128" / name) for name in GOLDEN}
    assert found == GOLDEN


def test_pixels_do_not_depend_on_the_vector_instructions():
    """NumPy without its AVX2 kernels (where it has any) draws the same."""
    code = (
        "import hashlib; from lethe.dataloaders.datasets import core50_mini;"
        "print(hashlib.sha256(core50_mini.frames_of(0, 1, 1)[0].tobytes()).hexdigest())"
    )
    plain = {**os.environ, "NPY_DISABLE_CPU_FEATURES": "X86_V3 AVX2 FMA3"}
    done = subprocess.run([sys.executable, "-c", code], env=plain, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == GOLDEN["s1/o1/C_01_01_010.png"], done.stderr


def test_shapes_are_the_classes():
    assert tuple(core50_mini.shapes()) == find.get("core50_mini").classes


def test_every_frame_of_a_video_differs():
    frames = core50_mini.frames_of(0, 7, 2)
    assert len({frame.tobytes() for frame in frames}) == len(core50_mini.FRAMES)


def test_another_seed_draws_other_images():
    assert not np.array_equal(core50_mini.frames_of(0, 7, 2), core50_mini.frames_of(1, 7, 2))


def test_every_class_has_the_same_colours_sizes_and_textures():
    objects = [[core50_mini._object(0, kind, number) for number in range(5)] for kind in range(10)]
    sizes = {tuple(sorted(scale for scale, _ in row)) for row in objects}
    patterns = {tuple(sorted(material.pattern for _, material in row)) for row in objects}
    assert (len(sizes), len(patterns)) == (1, 1)


def test_workers_do_not_change_a_byte(root, small, tmp_path):
    core50_mini.draw(tmp_path, workers=1)
    assert len(files(tmp_path)) == 2 * 50 * 5
    assert files(tmp_path).items() <= files(root).items()


def test_a_stopped_drawing_is_finished_to_the_byte(root, small, tmp_path):
    core50_mini.draw(tmp_path, workers=1)
    whole = files(tmp_path)
    folder = tmp_path / "core50_128x128"
    (folder / "s2" / "o3" / "C_02_03_068.png").unlink()
    # What a kill leaves: a part of a file under the temporary name.
    (folder / "s2" / "o3" / ".C_02_03_068.png.123.tmp").write_bytes(b"\x89PNG")
    kept = folder / "s1" / "o1" / "C_01_01_010.png"
    written = kept.stat().st_mtime_ns
    core50_mini.draw(tmp_path, workers=2)
    assert {name: data for name, data in files(tmp_path).items() if name.endswith(".png")} == whole
    assert kept.stat().st_mtime_ns == written


def test_another_seed_in_the_same_folder_is_refused(root):
    with pytest.raises(InputError, match="images of seed 0, not 1"):
        core50_mini.draw(root, seed=1)


def test_a_damaged_note_is_refused(tmp_path):
    (tmp_path / "core50_mini.json").write_text("[]")
    with pytest.raises(InputError, match=r"core50_mini\.json"):
        core50_mini.draw(tmp_path)


def test_images_of_unknown_origin_are_refused(tmp_path):
    (tmp_path / "core50_128x128").mkdir()
    with pytest.raises(InputError, match="not drawn here"):
        core50_mini.draw(tmp_path)


def test_the_global_random_state_is_untouched():
    before = np.random.get_state()[1].tolist()
    core50_mini.frames_of(0, 1, 1)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_linear_classifier_fails_on_new_sessions(root):
    pixels, labels, held_out = [], [], []
    for name in sorted(files(root)):
        with Image.open(root / "core50_128x128" / name) as image:
            pixels.append(np.asarray(image.reduce(2), np.float32).ravel() / 255)
        session, instance = (int(part[1:]) for part in name.split("/")[:2])
        labels.append((instance - 1) // 5)
        held_out.append(session in find.get("core50_mini").test_sessions)
    x, y, test = np.array(pixels), np.array(labels), np.array(held_out)
    linear = LogisticRegression(C=0.1, max_iter=60).fit(x[~test], y[~test])
    assert 0.2 < linear.score(x[test], y[test]) < 0.6
