"""Checkpoints give back what they were given, in the same layout, or say that they are damaged."""

import errno
import resource

import pytest
import torch

from lethe.benchmarks.records import checkpoint
from lethe.common.errors import InputError


def test_nested_state_comes_back(tmp_path):
    shared = torch.arange(6.0)
    state = {
        "tensor": shared.view(2, 3),
        "same memory": shared,
        "scalar": torch.tensor(3),
        "bool": torch.tensor([True, False]),
        "image": torch.randn(2, 3, 4, 5, generator=torch.Generator()).to(memory_format=torch.channels_last),
        "by number": {0: {"momentum": torch.ones(2)}, 7: None},
        "plain": [1, 2.5, "three", None, True, float("inf")],
    }
    checkpoint.save(tmp_path / "state.safetensors", state)
    back = checkpoint.load(tmp_path / "state.safetensors")
    assert torch.equal(back["tensor"], state["tensor"])
    assert torch.equal(back["same memory"], shared)
    assert back["scalar"].item() == 3 and back["scalar"].ndim == 0
    assert back["bool"].dtype == torch.bool
    assert torch.equal(back["image"], state["image"])
    assert back["image"].is_contiguous(memory_format=torch.channels_last), (
        "the layout decides the bits of sums"
    )
    assert torch.equal(back["by number"][0]["momentum"], torch.ones(2))
    assert back["by number"][7] is None
    assert back["plain"] == state["plain"]


def test_what_cannot_be_saved_is_refused(tmp_path):
    with pytest.raises(TypeError, match="cannot save a object"):
        checkpoint.save(tmp_path / "state.safetensors", {"x": object()})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x08\0\0\0\0\0\0\0{}      "])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"state\.safetensors: damaged checkpoint"):
        checkpoint.load(path)


def test_what_the_disk_refuses_is_told_as_such(tmp_path):
    """What safetensors raises is no `OSError`; a file that may not grow is refused as one on a full disk is."""
    path = tmp_path / "state.safetensors"
    checkpoint.save(path, {"x": torch.ones(1)})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(InputError, match="cannot be written: File too large") as told:
            checkpoint.save(path, {"x": torch.ones(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(told.value.__cause__, OSError) and told.value.__cause__.errno == errno.EFBIG
    assert checkpoint.load(path)["x"].shape == (1,)
    assert list(tmp_path.iterdir()) == [path]
