"""The networks: shapes, seeds, weights through torchvision's own path, and what is said when they are missing."""

import pytest
import torch
from torch import nn

from lethe.agents.contract.toy import CPU
from lethe.agents.networks import build as networks
from lethe.common.errors import InputError


def make(name, seed=0, pretrained=False, num_classes=10):
    return networks.build(name, num_classes, pretrained=pretrained, seed=seed, device=CPU)[0]


@pytest.mark.parametrize(
    ("name", "size"), [("small", 64), ("small", 32), ("squeezenet", 64), ("resnet18", 64)]
)
def test_images_give_scores_and_every_parameter_a_gradient(name, size):
    network = make(name)
    x = torch.randint(0, 256, (2, 3, size, size), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    scores = network.plastic(network.frozen(x))
    assert scores.shape == (2, 10)
    scores.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.plastic.parameters())


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_weights_come_from_the_seed_and_the_global_generator_is_left_alone(name):
    before = torch.get_rng_state()
    one, same, other = (make(name, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    pairs = list(zip(one.state_dict().values(), same.state_dict().values(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_squeezenet_has_the_published_head_and_seeded_dropout():
    network = make("squeezenet")
    assert sum(p.numel() for p in network.plastic.parameters()) == 735_424 + 512 * 9 * 10 + 10
    assert not any(isinstance(layer, nn.Dropout) for layer in network.modules())
    x = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    assert not torch.equal(network.plastic(x), network.plastic(x)), "dropout is active in training"
    network.eval()
    assert torch.equal(network.plastic(x), network.plastic(x))


@pytest.mark.parametrize(("name", "file"), [("squeezenet", "squeezenet1_0"), ("resnet18", "resnet18")])
def test_pretrained_weights_come_from_torchvisions_cache(name, file, tmp_path, monkeypatch):
    """A file in the cache under torchvision's name is loaded; here one made from another seed."""
    import torchvision.models

    enum = {"squeezenet": "SqueezeNet1_0_Weights", "resnet18": "ResNet18_Weights"}[name]
    weights = getattr(torchvision.models, enum).IMAGENET1K_V1
    generator = torch.Generator().manual_seed(3)
    whole = getattr(torchvision.models, file)(weights=None).state_dict()
    whole = {
        k: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v for k, v in whole.items()
    }
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(whole, cache / weights.url.rsplit("/", 1)[-1])

    network, digest = networks.build(name, 10, pretrained=True, seed=0, device=CPU)
    first = "features.0.weight" if name == "squeezenet" else "conv1.weight"
    assert torch.equal(next(network.plastic.parameters()), whole[first])
    assert len(digest) == 64


def test_weights_that_cannot_be_fetched_say_where_to_put_the_file(tmp_path, monkeypatch):
    from urllib.error import URLError

    def offline(*arguments, **named):
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(InputError, match=r"cannot be fetched.*put it at .*hub/checkpoints/squeezenet1_0-"):
        networks.build("squeezenet", 10, pretrained=True, seed=0, device=CPU)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_damaged_or_hostile_weights_file_is_refused(tmp_path, monkeypatch):
    import pickle

    from torchvision.models import SqueezeNet1_0_Weights

    class Hostile:
        def __reduce__(self):
            return (print, ("this must never run",))

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / SqueezeNet1_0_Weights.IMAGENET1K_V1.url.rsplit("/", 1)[-1]
    path.parent.mkdir(parents=True)
    for content in (b"PK half a file", pickle.dumps(Hostile())):
        path.write_bytes(content)
        with pytest.raises(InputError, match="damaged weights"):
            networks.build("squeezenet", 10, pretrained=True, seed=0, device=CPU)


def test_the_small_network_refuses_large_images_and_unknown_names_are_told():
    assert networks.default_network((64, 64)) == "small"
    assert networks.default_network((224, 224)) == "squeezenet"
    with pytest.raises(InputError, match="up to 64 px"):
        networks.check("small", (224, 224))
    with pytest.raises(InputError, match="did you mean 'resnet18'"):
        networks.check("resnet50", (224, 224))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("small", (96, 4, 4)),
        ("squeezenet", (512, 3, 3)),  # AugMem's cut, after features[:12]; 512 x 13 x 13 from 224 px
        ("resnet18", (512, 2, 2)),  # REMIND's, after layer4.0; 512 x 7 x 7 from 224 px
        ("mobilenet", (64, 4, 4)),  # AugMem's, after features[:8]
    ],
)
def test_a_cut_network_is_the_whole_network_in_two_parts(name, shape):
    whole = make(name)
    cut = networks.build(name, 10, cut="last_block", pretrained=False, seed=0, device=CPU)[0]
    x = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    features = cut.frozen(x)
    assert features.shape == (2, *shape)
    assert torch.equal(cut.eval().plastic(features), whole.eval().plastic(x))
    assert not any(p.requires_grad for p in cut.frozen.parameters())
    cut.train()
    assert not any(layer.training for layer in cut.frozen.modules())


def test_pretrained_weights_land_in_both_parts_of_a_cut_network():
    whole = make("small", pretrained=True)
    cut = networks.build("small", 10, cut="conv3", pretrained=True, seed=1, device=CPU)[0]
    kinds = (nn.Conv2d,)
    ours = [
        layer.weight
        for part in (cut.frozen, cut.plastic)
        for layer in part.modules()
        if isinstance(layer, kinds)
    ]
    theirs = [layer.weight for layer in whole.plastic.modules() if isinstance(layer, kinds)]
    assert len(ours) == 4 and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert networks.fingerprint(cut.frozen) != networks.fingerprint(whole.plastic)


def test_a_stage_that_does_not_exist_is_told_with_the_nearest():
    with pytest.raises(InputError, match=r"did you mean 'layer4\.1'"):
        networks.find_cut("resnet18", "layer4.11")
    with pytest.raises(InputError, match="unknown stage to cut small at"):
        networks.build("small", 10, cut="conv9", pretrained=False, seed=0, device=CPU)
