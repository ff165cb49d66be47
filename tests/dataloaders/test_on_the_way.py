"""Inputs without a store: the same bits as from one, and nothing left behind."""

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lethe.agents.networks import build as networks
from lethe.common.errors import InputError
from lethe.dataloaders.stores.decoded import DecodedImages
from lethe.dataloaders.stores.encoded import GROUP, EncodedImages
from lethe.dataloaders.stores.features import feature_store, pixels_of
from lethe.dataloaders.stores.part import Part
from lethe.dataloaders.stores.pixels import ImageFiles, PixelStore
from lethe.dataloaders.streams import Images, Task
from tests.dataloaders.test_pixels import draw

CPU = torch.device("cpu")
SIZE = (16, 16)
COUNT = 70


@pytest.fixture
def files(tmp_path):
    paths, _ = draw(tmp_path / "root", COUNT, size=(20, 18))
    return ImageFiles.open(tmp_path / "root", paths, SIZE, remedy="leave it out")


def parts(rows, size):
    return list(Task(rows, rows % 3).batches(size))


@pytest.mark.parametrize("workers", [1, 3])
def test_decoded_images_are_those_of_a_store_whatever_the_workers(files, tmp_path, workers):
    store = PixelStore.open(files.root, files.paths, SIZE, tmp_path / "stores")
    assert store.rows == files.rows and store.fingerprint == files.fingerprint
    decoded, stored = files.inputs(CPU, workers), store.inputs(CPU)
    rows = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    for size in (1, 7, COUNT):
        wanted = parts(rows, size)
        found = list(decoded.batches(iter(wanted)))
        assert [part for part, _ in found] == wanted
        assert all(torch.equal(x, stored[part.rows]) for part, x in found)
    assert torch.equal(decoded[rows[:3]], stored[rows[:3]]) and decoded.shape == stored.shape


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_features_on_the_way_have_the_bits_of_a_store_whatever_the_batch(files, tmp_path, dtype):
    """Of one image alone the trunk's last bits are others, which groups of one size prevent."""
    network, _ = networks.build("small", 3, cut="last_block", pretrained=False, seed=0, device=CPU)
    store = PixelStore.open(files.root, files.paths, SIZE, tmp_path / "stores")
    trunk, print_ = network.frozen, networks.fingerprint(network.frozen)
    stored = Images(feature_store(store, trunk, print_, tmp_path / "stores", CPU, dtype=dtype), CPU)
    encoded = EncodedImages(store.inputs(CPU), trunk, CPU, dtype)
    rows = torch.randperm(COUNT, generator=torch.Generator().manual_seed(2))
    for size in (1, 10, GROUP, 50):
        for part, x in encoded.batches(iter(parts(rows, size))):
            assert torch.equal(x, stored[part.rows]) and x.is_contiguous(memory_format=torch.channels_last)
            assert x.untyped_storage().nbytes() == x.nbytes, "a view would lead to the next batch"
    assert torch.equal(encoded[rows[:1]], stored[rows[:1]]) and encoded.shape == stored.shape


def test_test_images_have_a_store_of_their_own(files, tmp_path):
    rows = torch.tensor([3, 8, 60])
    store = pixels_of(files, rows, tmp_path / "stores", CPU)
    part, all_of_them = Part(Images(store, CPU), rows), files.inputs(CPU, 1)
    assert store.shape == (3, *SIZE, 3)
    for asked in (torch.tensor([60]), torch.tensor([8, 3])):
        assert torch.equal(part[asked], all_of_them[asked])
        assert torch.equal(next(part.batches(parts(asked, 2)))[1], all_of_them[asked])


def test_a_truncated_image_is_named_and_the_processes_end(files):
    path = files.root / files.paths[40]
    Image.fromarray(np.zeros((20, 18, 3), np.uint8)).save(path, format="JPEG")
    path.write_bytes(path.read_bytes()[:-200])
    images = files.inputs(CPU, 2)
    with pytest.raises(InputError, match=f"{files.paths[40]}.*\nleave it out"):
        list(images.batches(parts(torch.arange(COUNT), 10)))
    assert len(images[torch.tensor([1, 2])]) == 2, "others go on"


def test_a_killed_process_is_told_and_none_is_left_behind(files):
    images = files.inputs(CPU, 2)
    begun = images.batches(parts(torch.arange(COUNT), 10))
    next(begun)
    children = children_of(os.getpid())
    assert len(children) >= 2
    begun.close()
    for pid in children:
        os.kill(pid, 9)
    with pytest.raises(InputError, match="was killed, most likely for want of memory"):
        list(images.batches(parts(torch.arange(COUNT), 10)))
    again = files.inputs(CPU, 2)
    assert len(again[torch.arange(5)]) == 5
    assert children_of(os.getpid())
    del images, again, begun
    gc.collect()
    end = time.monotonic() + 10
    while children_of(os.getpid()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not children_of(os.getpid())


def children_of(pid):
    """Decoding processes of a process that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and "stores.decoder" in (folder / "cmdline").read_text():
                found += [int(folder.name)] if fields[0] != "Z" else []
        except OSError:  # it has ended meanwhile
            continue
    return found


def test_no_more_than_some_images_are_ahead(files):
    asked = []

    def watched():
        for part in parts(torch.arange(COUNT).repeat(20), 10):
            asked.append(part)
            yield part

    begun = DecodedImages(files.root, files.paths, SIZE, CPU, workers=1).batches(watched())
    next(begun)
    assert 10 <= len(asked) <= 15
    begun.close()
