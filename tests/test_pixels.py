"""The pixel store: right pixels, built once, never half, never stale; and what it says of bad images."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import dataloaders.pixels
import dataloaders.stores
from dataloaders.decode import decode
from dataloaders.pixels import PixelStore
from errors import InputError

ROOT = Path(__file__).parents[1]


def draw(root, count, size=(20, 30), seed=0):
    """`count` random colour images; returns their paths and arrays."""
    random = np.random.RandomState(seed)
    arrays = [random.randint(0, 256, (*size, 3)).astype(np.uint8) for _ in range(count)]
    paths = [f"c{i % 3}/{i:04d}.png" for i in range(count)]
    for path, array in zip(paths, arrays, strict=True):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array).save(root / path)
    return paths, arrays


def test_pixels_are_the_images_row_by_row(tmp_path):
    paths, arrays = draw(tmp_path / "root", 7)
    store = PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    assert store.pixels.shape == (7, 20, 30, 3) and store.pixels.dtype == np.uint8
    for path, array in zip(paths, arrays, strict=True):
        assert np.array_equal(store.pixels[store.rows[path]], array)


def test_images_become_rgb_and_are_resized_exactly_as_the_published_loader_does(tmp_path):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    (path,), (array,) = draw(tmp_path, 1, size=(37, 50))
    grey = tmp_path / "grey.png"
    Image.fromarray(array[:, :, 0]).save(grey)
    for file in (tmp_path / path, grey):
        image = Image.open(file).convert("RGB")
        oracle = np.asarray(resize(image, [24, 16], InterpolationMode.BILINEAR))
        assert np.array_equal(decode(file, (24, 16)), oracle)


def test_a_store_is_built_once_and_anew_when_a_file_or_the_size_changes(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 5)
    root, stores = tmp_path / "root", tmp_path / "stores"
    first = PixelStore.open(root, paths, (20, 30), stores)
    with monkeypatch.context() as patch:
        patch.setattr(dataloaders.stores, "_build", lambda *_: pytest.fail("built again"))
        assert PixelStore.open(root, list(reversed(paths)), (20, 30), stores).fingerprint == first.fingerprint
    assert PixelStore.open(root, paths, (10, 10), stores).pixels.shape == (5, 10, 10, 3)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / paths[0])
    changed = PixelStore.open(root, paths, (20, 30), stores)
    assert changed.fingerprint != first.fingerprint
    assert not changed.pixels[changed.rows[paths[0]]].any()


def test_a_store_is_the_same_with_any_number_of_workers(tmp_path, monkeypatch):
    paths, arrays = draw(tmp_path / "root", 600, size=(4, 4))
    monkeypatch.setattr("dataloaders.decode._SERIAL_BELOW", 0)
    seen = []
    store = PixelStore.open(
        tmp_path / "root", paths, (4, 4), tmp_path / "s", workers=3, progress=lambda *at: seen.append(at)
    )
    assert all(np.array_equal(store.pixels[store.rows[p]], a) for p, a in zip(paths, arrays, strict=True))
    assert seen[-1] == (600, 600) and len(seen) > 1


def test_writing_to_the_pixels_never_changes_the_store(tmp_path):
    paths, arrays = draw(tmp_path / "root", 1)
    store = PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    store.pixels[:] = 0
    again = PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    assert np.array_equal(again.pixels[0], arrays[0])


def test_images_that_are_missing_or_broken_are_all_named_and_nothing_is_left(tmp_path):
    paths, _ = draw(tmp_path / "root", 6)
    root, stores = tmp_path / "root", tmp_path / "stores"
    with pytest.raises(InputError) as error:
        PixelStore.open(root, [*paths, "c0/none.png", "c1/none.png"], (20, 30), stores)
    assert "2 of 8 images are missing" in str(error.value) and "c1/none.png: no such image" in str(
        error.value
    )

    (root / paths[1]).write_bytes((root / paths[1]).read_bytes()[:100])
    (root / paths[2]).write_text("no image at all")
    with pytest.raises(InputError) as error:
        PixelStore.open(root, paths, (20, 30), stores)
    assert len(error.value.problems) == 2
    assert all(name in str(error.value) for name in (paths[1], paths[2]))
    assert [p for p in stores.iterdir() if p.is_dir()] == []


def test_a_full_disk_is_told_before_any_image_is_decoded(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 3)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(dataloaders.pixels, "decode_into", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    assert [p for p in (tmp_path / "stores").iterdir() if p.is_dir()] == []


def test_a_build_that_is_killed_leaves_no_store_and_can_be_repeated(tmp_path):
    paths, arrays = draw(tmp_path / "root", 300, size=(4, 4))
    code = (
        "import sys, time; from pathlib import Path; from dataloaders.pixels import PixelStore\n"
        "root, stores = map(Path, sys.argv[1:])\n"
        "paths = sorted(str(p.relative_to(root)) for p in root.rglob('*.png'))\n"
        "def wait(*_): print('built', flush=True); time.sleep(60)\n"
        "PixelStore.open(root, paths, (4, 4), stores, progress=wait)\n"
    )
    stores = tmp_path / "stores"
    build = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "root", stores], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert build.stdout.readline() == "built\n"
    build.send_signal(signal.SIGKILL)
    build.wait()
    assert not [p for p in stores.iterdir() if p.is_dir() and not p.name.startswith(".")]
    begun = time.perf_counter()
    store = PixelStore.open(tmp_path / "root", paths, (4, 4), stores)
    assert time.perf_counter() - begun < 20, "the lock of the killed process is free"
    assert all(np.array_equal(store.pixels[store.rows[p]], a) for p, a in zip(paths, arrays, strict=True))
    assert len([p for p in stores.iterdir() if p.is_dir()]) == 1, "what the killed build left is gone"
