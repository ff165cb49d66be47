"""The feature store: what the trunk makes of each image, in its row, computed once."""

import mmap

import numpy as np
import pytest
import torch
from torch import nn

from lethe.agents.contract.toy import CPU
from lethe.dataloaders.stores.features import feature_store
from lethe.dataloaders.stores.pixels import PixelStore
from lethe.dataloaders.streams import Images
from tests.dataloaders.test_pixels import draw


class Trunk(nn.Module):
    """Halves the image and counts its calls."""

    calls = 0

    def forward(self, x):
        self.calls += 1
        return nn.functional.avg_pool2d(x.float(), 2)


@pytest.fixture
def pixels(tmp_path):
    paths, _ = draw(tmp_path / "root", 70, size=(6, 4))
    return PixelStore.open(tmp_path / "root", paths, (6, 4), tmp_path / "stores")


def test_features_are_the_trunks_output_row_by_row(pixels, tmp_path):
    features = feature_store(pixels, Trunk(), "half", tmp_path / "stores", CPU)
    assert features.shape == (70, 3, 2, 3) and features.dtype == np.float32
    rows = torch.tensor([69, 0, 33])
    found = Images(features, CPU)[rows]
    assert torch.equal(found, Trunk()(Images(pixels.pixels, CPU)[rows]))
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_a_store_is_computed_once_for_a_trunk(pixels, tmp_path):
    first = feature_store(pixels, Trunk(), "half", tmp_path / "stores", CPU)
    again = Trunk()
    second = feature_store(pixels, again, "half", tmp_path / "stores", CPU)
    assert again.calls == 1, "one image, to learn the shape"
    assert np.array_equal(first, second)
    other = Trunk()
    feature_store(pixels, other, "another trunk", tmp_path / "stores", CPU)
    assert other.calls == 1 + 3


def test_features_made_with_another_number_of_threads_are_others(pixels, tmp_path):
    """Sums depend on it in their last bits: a run's numbers must not be those of whoever came first."""
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 1):
            torch.set_num_threads(threads)
            feature_store(pixels, Trunk(), "half", tmp_path / "stores", CPU)
    finally:
        torch.set_num_threads(before)
    names = [path.name for path in (tmp_path / "stores").glob("features*") if path.is_dir()]
    assert len(names) == 2 and all(torch.__version__ in name for name in names)
    assert {name.split("-")[3] for name in names} == {"cpu1", "cpu2"}


def test_bfloat16_features_are_the_rounded_ones_in_half_the_space(pixels, tmp_path):
    class Thirds(Trunk):
        def forward(self, x):
            return super().forward(x) / 3

    exact = feature_store(pixels, Thirds(), "thirds", tmp_path / "stores", CPU)
    coarse = feature_store(pixels, Thirds(), "thirds", tmp_path / "stores", CPU, dtype="bfloat16")
    assert coarse.nbytes * 2 == exact.nbytes and isinstance(coarse.base, mmap.mmap)
    sizes = {
        path.parent.name: path.stat().st_size for path in (tmp_path / "stores").glob("features*/array.npy")
    }
    assert len(sizes) == 2 and max(sizes.values()) - exact.nbytes == min(sizes.values()) - coarse.nbytes
    rows = torch.tensor([69, 0, 33])
    found, wanted = Images(coarse, CPU)[rows], Images(exact, CPU)[rows]
    assert found.dtype == torch.float32 and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(found, wanted.bfloat16().float()) and not torch.equal(found, wanted)
    assert Images(coarse, CPU).shape == Images(exact, CPU).shape


def test_a_store_that_is_there_costs_one_image(pixels, tmp_path):
    for dtype in ("float32", "bfloat16"):
        feature_store(pixels, Trunk(), "half", tmp_path / "stores", CPU, dtype=dtype)
        again = Trunk()
        feature_store(pixels, again, "half", tmp_path / "stores", CPU, dtype=dtype)
        assert again.calls == 1


def test_a_trunk_that_fails_leaves_no_store(pixels, tmp_path):
    class Fails(Trunk):
        def forward(self, x):
            if self.calls == 2:
                raise RuntimeError("out of memory")
            return super().forward(x)

    with pytest.raises(RuntimeError, match="out of memory"):
        feature_store(pixels, Fails(), "half", tmp_path / "stores", CPU)
    assert not list((tmp_path / "stores").glob("features*"))
