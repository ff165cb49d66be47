"""Weights from a file: by the names of stages or of torchvision, strictly, the head by the names of classes."""

import os

import pytest
import safetensors.torch
import torch
from torchvision.models import mobilenet_v2, resnet18, squeezenet1_0

from lethe.agents.contract.toy import CPU
from lethe.agents.networks import build as networks
from lethe.agents.networks import given
from lethe.agents.networks.given import Given
from lethe.common.errors import InputError

CLASSES = ("n03", "n01", "n02", "n00")
"""By label; ImageFolder sorts them."""


def torchvision_model(make=resnet18, outputs=4):
    """A model with values of its own everywhere, running statistics included."""
    generator = torch.Generator().manual_seed(1)
    model = make(num_classes=outputs).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(0.05 + 0.02 * torch.rand(tensor.shape, generator=generator))
    return model


def built(name, weights=None, classes=CLASSES, **options):
    network, digest = networks.build(
        name, len(classes), pretrained=False, seed=0, device=CPU, given=weights, classes=classes, **options
    )
    assert digest == (weights.sha256 if weights else "")
    return network.eval()


def scores(network, x):
    with torch.no_grad():
        return network.plastic(network.frozen(x))


def by_stage(name, network, cut=None):
    found = networks.by_stage(name, cut, network.frozen.state_dict(), network.plastic.state_dict())
    return {key: tensor for key, tensor in found.items() if not key.endswith("_extra_state")}


@pytest.mark.parametrize(("prefix", "cut"), [("", None), ("model.", "last_block"), ("module.model.", None)])
def test_a_checkpoint_of_torchvision_s_names_gives_its_scores(tmp_path, prefix, cut):
    """As REMIND's own: under state_dict, `model.` before each name, outputs in ImageFolder's order."""
    model, path = torchvision_model(), tmp_path / "best.pth"
    torch.save({"state_dict": {prefix + k: v for k, v in model.state_dict().items()}, "epoch": 40}, path)
    network = built("resnet18", given.read(path), cut=cut)
    x = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        theirs = model((x / 255 - mean) / std)[:, [3, 1, 2, 0]]
    torch.testing.assert_close(scores(network, x), theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(theirs[:, 0], theirs[:, 3], rtol=1e-3)


@pytest.mark.parametrize(("name", "make"), [("squeezenet", squeezenet1_0), ("mobilenet", mobilenet_v2)])
def test_networks_whose_body_is_a_part_of_torchvision_s_model(tmp_path, name, make):
    model, path = torchvision_model(make), tmp_path / "weights.pth"
    state = model.state_dict()
    if name == "squeezenet":  # its head has kernels of 3 x 3 here
        state["classifier.1.weight"] = torch.rand(4, 512, 3, 3)
    torch.save(state, path)
    found = by_stage(name, built(name, given.read(path)))
    head = [tensor for key, tensor in found.items() if key.startswith("head.")]
    theirs = [tensor for key, tensor in state.items() if key.startswith("classifier.")]
    for ours, tensor in zip(head, theirs, strict=True):
        assert torch.equal(ours, tensor[[3, 1, 2, 0]])
    assert all(torch.equal(found[key], state[key]) for key in found if key.startswith("features."))


def test_a_head_of_another_number_of_classes_is_drawn_anew(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(torchvision_model(outputs=7).state_dict(), path)
    weights = given.read(path)
    assert networks.check_given("resnet18", weights, CLASSES) == 0
    found, drawn = (by_stage("resnet18", built("resnet18", w)) for w in (weights, None))
    for key in ("head.1.weight", "head.1.bias"):
        assert torch.equal(found[key], drawn[key])
    assert torch.equal(found["layer4.1.conv1.weight"], weights.state["layer4.1.conv1.weight"])


def kept(classes, seed=3):
    """Weights of the small network for `classes`, whose names are told."""
    state = by_stage(
        "small", networks.build("small", len(classes), pretrained=False, seed=seed, device=CPU)[0]
    )
    return Given(os.devnull, "0" * 64, state, tuple(classes))


def test_outputs_of_the_head_are_matched_by_the_names_of_classes():
    before = ("cat", "dog", "owl")
    weights, after = kept(before), ("owl", "eel", "cat")
    found, drawn = (by_stage("small", built("small", w, after)) for w in (weights, None))
    assert networks.check_given("small", weights, after) == 2
    for key in ("head.1.weight", "head.1.bias"):
        assert torch.equal(found[key][0], weights.state[key][2])
        assert torch.equal(found[key][1], drawn[key][1]), "a class that is new"
        assert torch.equal(found[key][2], weights.state[key][0])


@pytest.mark.parametrize("cut", [None, "conv1", "conv3", "head"])
def test_the_states_of_both_parts_have_the_names_of_stages_wherever_the_cut_is(cut):
    weights = kept(CLASSES)
    found = by_stage("small", built("small", weights, cut=cut), cut)
    assert found.keys() == weights.state.keys()
    assert all(torch.equal(found[key], tensor) for key, tensor in weights.state.items())


def test_weights_of_another_network_are_refused_by_what_differs(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(torchvision_model(mobilenet_v2).state_dict(), path)
    with pytest.raises(InputError) as told:
        built("resnet18", given.read(path))
    assert "expected weights of network resnet18, got others: conv1.0.weight is missing" in str(told.value)
    weights = kept(CLASSES)
    for change, words in (
        ({"conv3.4.weight": torch.zeros(96, 48, 5, 5)}, r"is \[96, 48, 5, 5\], expected \[96, 48, 3, 3\]"),
        ({"extra": torch.zeros(1)}, "extra is unknown"),
        ({"head.1.bias": torch.zeros(3)}, "the head has 3 and 4 outputs"),
        ({"head.1.bias": torch.zeros(())}, r"head.1.bias is \[\], expected \[4\]"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            built("small", Given(path, "", {**weights.state, **change}, CLASSES))
    lacking = {key: tensor for key, tensor in weights.state.items() if key != "conv2.2.bias"}
    with pytest.raises(InputError, match=r"conv2\.2\.bias is missing"):
        built("small", Given(path, "", lacking, CLASSES))


class Hostile:
    def __reduce__(self):
        return (os.system, ("touch hostile-was-here",))


@pytest.mark.parametrize(
    "content",
    [Hostile(), {"state_dict": Hostile()}, [1, 2], {}, {"a": 1}, {1: torch.zeros(1)}, torch.zeros(2)],
)
def test_files_that_hold_no_weights_are_told_and_no_code_runs(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "weights.pth")
    with pytest.raises(InputError, match=r"^weights\.pth: "):
        given.read(given.Path("weights.pth"))
    assert not (tmp_path / "hostile-was-here").exists()


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("damage", [lambda d: d[:200], lambda d: b"", lambda d: b"text", lambda d: d[:-9]])
def test_damaged_files_are_told(tmp_path, name, damage):
    path = tmp_path / name
    save = safetensors.torch.save_file if name.endswith("s") else torch.save
    save({"weight": torch.zeros(100)}, path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match="weights"):
        given.read(path)
    for other in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(InputError, match="cannot be read"):
            given.read(other)
