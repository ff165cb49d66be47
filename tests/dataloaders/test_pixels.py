"""The pixel store: right pixels, built once, never half, never stale; and what it says of bad images."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lethe.dataloaders.stores.array
import lethe.dataloaders.stores.pixels
from lethe.common.errors import InputError
from lethe.dataloaders.datasets.image_folder import SUFFIXES
from lethe.dataloaders.stores.array import open_array
from lethe.dataloaders.stores.decode import FORMATS, decode, fault
from lethe.dataloaders.stores.pixels import PixelStore

ROOT = Path(__file__).parents[2]


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


@pytest.mark.parametrize("sides", [(37, 50), (50, 37), (64, 64), (23, 90), (25, 25), (24, 31), (101, 24)])
@pytest.mark.parametrize(("resize", "size"), [(24, (24, 24)), (25, (16, 24)), (31, (24, 17)), (64, (64, 63))])
def test_the_centre_is_cut_out_as_torchvision_does(tmp_path, sides, resize, size):
    from torchvision.transforms import CenterCrop, Compose, Resize

    (path,), _ = draw(tmp_path, 1, size=sides)
    oracle = Compose([Resize(resize), CenterCrop(size)])(Image.open(tmp_path / path).convert("RGB"))
    assert np.array_equal(decode(tmp_path / path, size, resize), np.asarray(oracle))


def test_a_store_of_cut_images_has_a_name_of_its_own(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 3, size=(20, 30))
    stores = [
        PixelStore.open(tmp_path / "root", paths, (16, 16), tmp_path / "stores", resize=resize)
        for resize in (0, 16, 17)
    ]
    assert len({store.fingerprint for store in stores}) == 3
    names = sorted(folder.name.rpartition("-")[0] for folder in (tmp_path / "stores").glob("pixels-*"))
    assert names == ["pixels-16x16", "pixels-16x16of16", "pixels-16x16of17"]
    for store, resize in zip(stores, (0, 16, 17), strict=True):
        assert np.array_equal(store.pixels[1], decode(tmp_path / "root" / sorted(paths)[1], (16, 16), resize))


def gradient(levels: int, dtype: str) -> np.ndarray:
    """16 x 16 grey levels from 0 to the largest."""
    return np.linspace(0, levels, 256).round().astype(dtype).reshape(16, 16)


@pytest.mark.parametrize("name", ["grey.png", "grey.tif"])
def test_16_bit_grey_is_brought_to_8_bits(tmp_path, name):
    levels = gradient(65535, "uint16")
    Image.fromarray(levels).save(tmp_path / name)
    found = decode(tmp_path / name, (16, 16))
    assert np.array_equal(found, np.repeat((levels / 257).round().astype(np.uint8)[:, :, None], 3, axis=2))
    assert fault(tmp_path / name) is None


@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_grey_levels_without_a_scale_are_refused_by_the_decoder_and_by_the_check(tmp_path, dtype):
    path = tmp_path / "grey.tif"
    Image.fromarray(gradient(1000, dtype)).save(path)
    with pytest.raises(InputError, match=r"grey.tif: cannot be decoded as an image: its grey levels"):
        PixelStore.open(tmp_path, ["grey.tif"], (16, 16), tmp_path / "stores")
    assert "its grey levels" in fault(path)


def transparent(mode: str) -> Image.Image:
    """Black, opaque in the left half and clear in the right one."""
    alpha = Image.fromarray(np.tile(np.repeat(np.uint8([255, 0]), 8), (16, 1)))
    image = Image.new("RGBA" if mode == "P" else mode, (16, 16))
    image.putalpha(alpha)
    return image.quantize(4) if mode == "P" else image


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_shows_a_white_ground(tmp_path, mode):
    transparent(mode).save(tmp_path / "shape.png")
    assert Image.open(tmp_path / "shape.png").mode == mode
    found = decode(tmp_path / "shape.png", (16, 16))
    assert not found[:, :8].any() and (found[:, 8:] == 255).all()


def test_an_opaque_alpha_channel_changes_nothing(tmp_path):
    (path,), (array,) = draw(tmp_path, 1)
    image = Image.fromarray(array)
    image.putalpha(255)
    image.save(tmp_path / path)
    assert np.array_equal(decode(tmp_path / path, (20, 30)), array)


@pytest.mark.parametrize("name", ["photo.png", "photo.webp", "photo.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_their_camera_notes(tmp_path, name, orientation):
    """The numbers of the EXIF standard say at which side of the picture the file's first row and column are."""
    upright = np.random.RandomState(0).randint(0, 256, (8, 12, 3)).astype(np.uint8)
    rows_first = {1: (1, 1), 2: (1, -1), 3: (-1, -1), 4: (-1, 1)}
    columns_first = {5: (1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}
    down, right = (rows_first | columns_first)[orientation]
    stored = upright[::down, ::right]
    if orientation in columns_first:
        stored = stored.transpose(1, 0, 2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / name, exif=exif, lossless=True)
    assert np.array_equal(decode(tmp_path / name, (8, 12)), upright)


def test_a_photo_with_damaged_exif_is_taken_as_it_is(tmp_path):
    (path,), (array,) = draw(tmp_path, 1)
    for exif in (b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\xff"):
        Image.fromarray(array).save(tmp_path / path, exif=exif)
        assert np.array_equal(decode(tmp_path / path, (20, 30)), array)


def test_a_store_is_built_once_and_anew_when_a_file_or_the_size_changes(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 5)
    root, stores = tmp_path / "root", tmp_path / "stores"
    first = PixelStore.open(root, paths, (20, 30), stores)
    with monkeypatch.context() as patch:
        patch.setattr(lethe.dataloaders.stores.array, "_build", lambda *_: pytest.fail("built again"))
        assert PixelStore.open(root, list(reversed(paths)), (20, 30), stores).fingerprint == first.fingerprint
    assert PixelStore.open(root, paths, (10, 10), stores).pixels.shape == (5, 10, 10, 3)
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(root / paths[0])
    changed = PixelStore.open(root, paths, (20, 30), stores)
    assert changed.fingerprint != first.fingerprint
    assert not changed.pixels[changed.rows[paths[0]]].any()


def test_a_store_is_the_same_with_any_number_of_workers(tmp_path, monkeypatch):
    paths, arrays = draw(tmp_path / "root", 600, size=(4, 4))
    monkeypatch.setattr("lethe.dataloaders.stores.decode._SERIAL_BELOW", 0)
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


def test_folders_whose_files_have_equal_names_sizes_and_times_share_no_store(tmp_path):
    for folder, colour in (("one", 10), ("two", 200)):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (4, 4), (colour,) * 3).save(tmp_path / folder / "a.bmp")
        os.utime(tmp_path / folder / "a.bmp", (0, 0))
    stores = [PixelStore.open(tmp_path / f, ["a.bmp"], (4, 4), tmp_path / "s") for f in ("one", "two")]
    assert [int(store.pixels[0, 0, 0, 0]) for store in stores] == [10, 200]


def test_a_store_larger_than_memory_can_be_opened_and_its_pages_are_copied_on_write(tmp_path, monkeypatch):
    """Twice what the machine has, in a file with a hole, which takes too long to read."""
    monkeypatch.setattr(lethe.dataloaders.stores.array, "_verify", lambda folder: None)
    pages = 2 * (os.sysconf("SC_PHYS_PAGES") + swap_pages())
    shape = (pages, os.sysconf("SC_PAGE_SIZE"))
    (tmp_path / "store").mkdir()
    with (tmp_path / "store" / "array.npy").open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        try:
            file.truncate(file.tell() + shape[0] * shape[1])
        except OSError as error:
            pytest.skip(f"no file of that size here: {error}")
    if Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2":
        pytest.skip("this system charges every such map to memory")
    opened = open_array(tmp_path / "store", shape, np.uint8, lambda _: pytest.fail("built again"))
    opened[-1] = 7
    assert opened[-1].tolist() == [7] * shape[1] and not opened[0].any()
    again = open_array(tmp_path / "store", shape, np.uint8, lambda _: pytest.fail("built again"))
    assert not again[-1].any()


def swap_pages() -> int:
    """Pages of swap space."""
    told = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(told["SwapTotal"].split()[0]) * 1024 // os.sysconf("SC_PAGE_SIZE")


def test_torch_takes_a_store_without_a_warning(tmp_path, recwarn):
    import torch

    paths, arrays = draw(tmp_path / "root", 1)
    store = PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    assert torch.equal(torch.from_numpy(store.pixels)[0], torch.from_numpy(arrays[0]))
    assert not recwarn.list


@pytest.mark.parametrize("damage", ["cut", "emptied", "lost", "no array"])
def test_a_damaged_store_is_told_with_what_to_do(tmp_path, damage):
    paths, _ = draw(tmp_path / "root", 2)
    root, stores = tmp_path / "root", tmp_path / "stores"
    PixelStore.open(root, paths, (20, 30), stores)
    (array,) = stores.glob("*/array.npy")
    if damage == "lost":
        array.unlink()
    else:
        array.write_bytes({"cut": array.read_bytes()[:-1], "emptied": b"", "no array": b"x" * 5000}[damage])
    with pytest.raises(InputError, match="delete this folder, and it is made again") as caught:
        PixelStore.open(root, paths, (20, 30), stores)
    assert len(caught.value.problems) == 1 and str(array.parent) in str(caught.value)


@pytest.mark.parametrize("place", [5, 130, -1])  # in the header, in the pixels
def test_one_flipped_bit_of_a_store_is_told(tmp_path, place):
    paths, _ = draw(tmp_path / "root", 2)
    PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    (array,) = (tmp_path / "stores").glob("*/array.npy")
    content = bytearray(array.read_bytes())
    content[place] ^= 16
    array.write_bytes(content)
    with pytest.raises(
        InputError, match=r"is damaged, its array.npy differs .* delete this folder, and it is"
    ):
        PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    shutil.rmtree(array.parent)
    PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")


@pytest.mark.parametrize("text", [None, "", "{}", '{"bytes": 1}', "[" * 100_000, "null"])
def test_checksums_that_are_damaged_are_told(tmp_path, text):
    paths, _ = draw(tmp_path / "root", 2)
    PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    (sums,) = (tmp_path / "stores").glob("*/checksums.json")
    sums.unlink()
    if text is not None:
        sums.write_text(text)
    lethe.dataloaders.stores.array._verify_once.cache_clear()
    with pytest.raises(InputError, match=r"delete .*, and it is made again"):
        PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")


def test_a_store_is_read_once_in_a_process(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 2)
    PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    monkeypatch.setattr(lethe.dataloaders.stores.array, "_sums", lambda path: pytest.fail("read again"))
    PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")


def test_a_flipped_digit_of_the_noted_content_is_not_believed(tmp_path):
    paths, _ = draw(tmp_path / "root", 2)
    content = PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores").content
    (note,) = (tmp_path / "stores").rglob("content.txt")
    text = note.read_text()
    note.write_text(("0" if text[0] != "0" else "1") + text[1:])
    assert PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores").content == content
    assert note.read_text() == text


FOREIGN = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(x) (w) file\n%%EOF\n",
    "DDS": b"DDS " + bytes(range(124)),
    "AVIF": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miafMA1B",
    "ICO": b"\0\0\1\0\1\0\1\1\0\0\1\0\x18\0\x30\0\0\0\x16\0\0\0",
    "nothing": b"",
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_only_the_formats_that_the_docs_name_are_decoded(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    monkeypatch.setattr(subprocess, "check_call", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / "image.png"
    path.write_bytes(FOREIGN[kind])
    with pytest.raises(
        InputError, match=r"image.png: cannot be decoded as an image: expected one of PNG, JPEG"
    ):
        decode(path, (8, 8))
    assert "expected one of" in fault(path)
    assert set(FORMATS) <= set((ROOT / "docs" / "data.md").read_text().replace(",", " ").split())


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.gif", "a.tiff", "a.webp", "a.ppm", "a.pgm"])
def test_every_ending_that_is_indexed_can_be_decoded(tmp_path, name):
    Image.new("L", (8, 8), 77).save(tmp_path / name)
    assert abs(decode(tmp_path / name, (8, 8)).astype(int) - 77).max() <= 2
    assert Path(name).suffix in SUFFIXES


def test_a_pipe_among_the_images_is_told_at_once(tmp_path):
    paths, _ = draw(tmp_path, 2)
    (tmp_path / paths[1]).unlink()
    os.mkfifo(tmp_path / paths[1])
    with pytest.raises(InputError, match="expected a file, got a pipe or a device"):
        PixelStore.open(tmp_path, paths, (8, 8), tmp_path / "stores")
    assert "got a pipe" in fault(tmp_path / paths[1])


@pytest.mark.parametrize("level", ["file", "folder"])
def test_an_image_that_a_link_brings_in_from_outside_is_refused_if_asked(tmp_path, level):
    paths, _ = draw(tmp_path / "root", 4)
    draw(tmp_path / "out", 4)
    place = Path(paths[1]) if level == "file" else Path(paths[1]).parent
    (tmp_path / "root" / place).rename(tmp_path / "root" / "moved")
    (tmp_path / "root" / place).symlink_to(tmp_path / "out" / place)
    PixelStore.open(tmp_path / "root", paths, (8, 8), tmp_path / "stores")
    with pytest.raises(InputError, match=f"{paths[1]}: a link leads out of") as caught:
        PixelStore.open(tmp_path / "root", paths, (8, 8), tmp_path / "stores", confined=("",))
    assert len(caught.value.problems) == 1
    (tmp_path / "root" / place).unlink()
    (tmp_path / "root" / place).symlink_to(tmp_path / "root" / "moved")
    PixelStore.open(tmp_path / "root", paths, (8, 8), tmp_path / "stores", confined=("",))


def test_a_decoder_that_is_killed_is_told_with_what_to_do(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 100, size=(4, 4))
    monkeypatch.setattr("lethe.dataloaders.stores.decode._SERIAL_BELOW", 0)
    monkeypatch.setattr("lethe.dataloaders.stores.decode._decode_chunk", kill_myself)
    with pytest.raises(InputError, match=r"killed, most likely for want of memory: .* repeat the command"):
        PixelStore.open(tmp_path / "root", paths, (4, 4), tmp_path / "stores", workers=2)
    assert [p for p in (tmp_path / "stores").iterdir() if p.is_dir()] == []


def kill_myself(job):
    """What the kernel does to a process when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_images_that_are_missing_or_broken_are_all_named_and_nothing_is_left(tmp_path):
    paths, _ = draw(tmp_path / "root", 6)
    root, stores = tmp_path / "root", tmp_path / "stores"
    with pytest.raises(InputError) as error:
        PixelStore.open(root, [*paths, "c0/none.png", "c1/none.png"], (20, 30), stores)
    with pytest.raises(InputError, match=r"6 of 6 images are missing below [^\n]*\nunpack them$"):
        PixelStore.open(tmp_path, paths, (20, 30), stores, remedy="unpack them")
    assert "2 of 8 images are missing" in str(error.value) and "c1/none.png: no such image" in str(
        error.value
    )

    (root / paths[1]).write_bytes((root / paths[1]).read_bytes()[:100])
    (root / paths[2]).write_text("no image at all")
    with pytest.raises(InputError) as error:
        PixelStore.open(root, paths, (20, 30), stores)
    assert len(error.value.problems) == 2
    with pytest.raises(InputError, match=r"mend them$"):
        PixelStore.open(root, paths, (20, 30), stores, remedy="mend them")
    assert all(name in str(error.value) for name in (paths[1], paths[2]))
    assert [p for p in stores.iterdir() if p.is_dir()] == []


def test_a_full_disk_is_told_before_any_image_is_decoded(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 3)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(lethe.dataloaders.stores.pixels, "decode_into", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")
    assert [p for p in (tmp_path / "stores").iterdir() if p.is_dir()] == []


def test_a_build_that_is_killed_leaves_no_store_and_can_be_repeated(tmp_path):
    paths, arrays = draw(tmp_path / "root", 300, size=(4, 4))
    code = (
        "import sys, time; from pathlib import Path; from lethe.dataloaders.stores.pixels import PixelStore\n"
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


def test_equal_pixels_have_equal_fingerprints_of_content_and_others_do_not(tmp_path):
    def content(root: str, seed: int, count: int = 4) -> str:
        paths, _ = draw(tmp_path / root, count, seed=seed)
        store = PixelStore.open(tmp_path / root, paths, (20, 30), tmp_path / "stores")
        again = PixelStore.open(tmp_path / root, paths, (20, 30), tmp_path / "stores")
        assert again.content == store.content
        return store.content

    assert content("a", seed=0) == content("copy", seed=0)
    assert len({content("a", 0), content("b", 1), content("c", 0, count=3)}) == 3


def test_a_store_is_fingerprinted_once_and_where_the_note_is_missing_or_torn(tmp_path, monkeypatch):
    paths, _ = draw(tmp_path / "root", 3)
    opened = [PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores")]
    (note,) = (tmp_path / "stores").rglob("content.txt")
    for torn in (None, ""):
        note.unlink() if torn is None else note.write_text(torn)
        opened.append(PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores"))
    monkeypatch.setattr(lethe.dataloaders.stores.pixels, "_digest", None)
    opened.append(PixelStore.open(tmp_path / "root", paths, (20, 30), tmp_path / "stores"))
    assert len({store.content for store in opened}) == 1
