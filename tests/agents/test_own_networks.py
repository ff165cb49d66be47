"""Networks of a user's own: module:build, recipes, modules given directly; and the fingerprints of the known ones."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional

from lethe.agents.contract.toy import CPU
from lethe.agents.networks import build as networks
from lethe.agents.networks.layers import Dropout, Normalise
from lethe.agents.networks.recipe import HALF, IMAGENET_MEAN, IMAGENET_STD, Recipe
from lethe.benchmarks.run.trial import Trial
from lethe.common.errors import InputError

MODULE = """
from collections import OrderedDict
import torch
from torch import nn
from torch.nn import functional as F
from lethe.agents.networks.recipe import Recipe

LIMIT = 3

def build(num_classes):
    return nn.Sequential(OrderedDict(
        stem=nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU()),
        block=nn.Conv2d(8, 8, 3, stride=2, padding=1),
        pool=nn.AdaptiveAvgPool2d(1),
        head=nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(8, num_classes)),
    ))

class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.body = build(num_classes)

    def forward(self, x):
        return self.body(x)

def weights():
    return {"stem.0.weight": torch.ones(8, 3, 3, 3), "stem.0.bias": torch.zeros(8)}

recipe = Recipe(build, last_block="block", max_pixels=48, mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 1.0))

def nothing(num_classes):
    return [num_classes]

def two(num_classes, width):
    return build(num_classes)

def too_few(num_classes):
    return build(num_classes - 1)

def maps(num_classes):
    return nn.Conv2d(3, num_classes, 1)

def wants_large(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, num_classes))

class Drops(Net):
    def forward(self, x):
        return F.dropout(super().forward(x), training=self.training)

def drops(num_classes):
    return Drops(num_classes)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module `own_networks` in a folder that Python looks in; the returned path is its file."""
    (tmp_path / "own_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "own_networks.py"
    sys.modules.pop("own_networks", None)


def make(name, cut=None, seed=0, num_classes=5):
    return networks.build(name, num_classes, cut=cut, pretrained=True, seed=seed, device=CPU)[0]


def images(size=32):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, 3, size, size), generator=generator).to(torch.uint8)


@pytest.mark.parametrize(
    ("name", "whole", "cut", "digest"),
    [
        ("small", "63a71b46b8ce2f754b21b2775572459098a26f6f2f4a5b93cb6a2ea9ec1db696", "184a73d08a1679c5",
         "57eb7cee08bd2fa3294b133ba4e0f85efe2328c847d949396beace9ef57ba015"),
        ("squeezenet", "9aebfefcbd109d958149d1932029bfa27ca25f9db877516223f49ee593da0570", "8d950138d5514917", ""),
        ("resnet18", "472f14d26e6280cc992023ca93a8228a6e84af1d4cc4d40af13939500cd0c7e3", "c400729b1f8342a2", ""),
        ("mobilenet", "2fde4e0f683854a0d0ac54a6d7da6e5e3205090ee45dd575e6771c941223e1bf", "4d68c770cc6d6345", ""),
    ],
)  # fmt: skip
def test_fingerprints_stay_so_that_stored_features_and_results_do(name, whole, cut, digest):
    """Recorded before networks had recipes; those of dropout hold the state of its generator."""
    pretrained = name == "small"
    network, found = networks.build(name, 10, pretrained=pretrained, seed=0, device=CPU)
    assert networks.fingerprint(network.plastic) == whole and found == digest
    network, _ = networks.build(name, 10, cut="last_block", pretrained=pretrained, seed=0, device=CPU)
    assert networks.fingerprint(network.frozen).startswith(cut)


def test_a_function_makes_a_network_that_can_be_cut_at_its_stages(own):
    whole, cut = make("own_networks:build").eval(), make("own_networks:build", "block").eval()
    assert cut.frozen(images()).shape == (4, 8, 16, 16)
    assert torch.equal(cut.plastic(cut.frozen(images())), whole.plastic(images()))
    assert networks.features(cut.plastic, cut.frozen(images())).shape == (4, 8)
    assert networks.freezes("own_networks:build", "block")
    assert not networks.freezes("own_networks:build", "stem")
    with pytest.raises(InputError, match="did you mean 'block'"):
        networks.find_cut("own_networks:build", "blokc")
    with pytest.raises(InputError, match=r"names no last_block: give a stage, --cut stem \| block"):
        networks.find_cut("own_networks:build", "last_block")


def test_its_input_is_normalised_to_between_minus_one_and_one_unless_its_recipe_says_otherwise(own):
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    first = make("own_networks:build").plastic[0]
    torch.testing.assert_close(first(pixels)[:, :, 0, 0], torch.tensor([[-1.0] * 3, [1.0] * 3]))
    other = make("own_networks:recipe").plastic[0]
    torch.testing.assert_close(other(pixels)[0, :, 0, 0], -torch.tensor([0.1, 0.2, 0.3]))
    assert networks.find_cut("own_networks:recipe", "last_block") == "block"


def test_its_values_are_its_own_and_drawn_from_the_seed_and_the_global_state_stays(own):
    before = torch.get_rng_state()
    one, same, other = (make("own_networks:build", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(1)
    import own_networks

    expected = own_networks.build(5)
    assert torch.equal(one.plastic[1][0].weight, expected.stem[0].weight)
    assert torch.equal(one.plastic[1][0].weight, same.plastic[1][0].weight)
    assert not torch.equal(one.plastic[1][0].weight, other.plastic[1][0].weight)


def test_its_dropout_draws_from_a_generator_of_its_own(own):
    network = make("own_networks:build")
    assert isinstance(network.plastic[4][1], Dropout)
    before = torch.get_rng_state()
    assert not torch.equal(network.plastic(images()), network.plastic(images()))
    assert torch.equal(torch.get_rng_state(), before)
    frozen = networks.from_module(
        nn.Sequential(nn.Dropout(0.5), nn.Flatten(), nn.Linear(3072, 2)), 2, (32, 32), cut="1"
    ).frozen
    assert torch.equal(frozen(images()), frozen(images())), "frozen dropout is never active"


def test_a_module_that_is_no_sequence_is_trained_whole(own):
    network = make("own_networks:Net")
    assert network.plastic(images()).shape == (4, 5)
    assert not list(network.frozen.children())
    with pytest.raises(InputError, match=r"'own_networks:Net' cannot be cut: build it as an nn.Sequential"):
        networks.find_cut("own_networks:Net", "block")
    with pytest.raises(TypeError, match="whose last layer is the head"):
        networks.features(network.plastic, images())


@pytest.mark.parametrize(
    ("name", "size", "told"),
    [
        ("nowhere:build", 32, "module 'nowhere' is not found: expected nowhere.py"),
        ("own_networks:nope", 32, "own_networks has no nope"),
        ("own_networks:LIMIT", 32, "expected a function of num_classes that returns an nn.Module.*got a int"),
        ("own_networks:two", 32, r"got two\(num_classes, width\)"),
        ("own_networks:nothing", 32, "expected an nn.Module, got a list"),
        ("own_networks:too_few", 32, r"expected scores \[B, num_classes\] = \[2, 3\].*got \[2, 2\]"),
        ("own_networks:maps", 32, r"got \[2, 3, 32, 32\]: end it with"),
        ("own_networks:wants_large", 32, r"fails on images \[2, 3, 32, 32\]"),
        ("own_networks:drops", 32, "draws from torch's global generator in training.*use nn.Dropout"),
        ("own_networks:recipe", 64, "takes images up to 48 px"),
        ("own networks:build", 32, "expected module:build"),
        ("mynet", 32, "one of your own is given as module:build"),
    ],
)
def test_networks_that_cannot_be_used_are_refused_with_what_to_do(own, name, size, told):
    before = torch.get_rng_state()
    with pytest.raises(InputError, match=told):
        networks.check(name, (size, size))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_trial_is_made_with_a_network_of_ones_own_and_says_all_that_is_wrong(own):
    trial = Trial.create("digits", "class_iid", "er", network="own_networks:build", cut="block")
    assert (trial.network, trial.cut, trial.pretrained) == ("own_networks:build", "block", False)
    assert Trial.create("digits", "class_iid", "er", network="own_networks:recipe").cut is None
    with pytest.raises(InputError) as caught:
        Trial.create(
            "digits", "class_iid", "er", {"batch_size": 0}, network="own_networks:too_few", cut="blokc"
        )
    assert len(caught.value.problems) == 3
    with pytest.raises(InputError) as caught:
        Trial.create("digits", "class_iid", "er", network="nowhere:build", cut="block")
    assert len(caught.value.problems) == 1


def test_editing_its_file_makes_other_features(own):
    def frozen():
        sys.modules.pop("own_networks", None)
        import own_networks

        return networks.fingerprint(own_networks.Net(2))

    torch.manual_seed(0)
    one = frozen()
    own.write_text(MODULE.replace("return self.body(x)", "return self.body(x).relu()"))
    torch.manual_seed(0)
    assert frozen() != one


def test_a_recipes_weights_are_loaded(own, monkeypatch):
    import own_networks

    full = {**own_networks.build(5).state_dict(), **own_networks.weights()}
    monkeypatch.setattr(own_networks, "recipe", Recipe(own_networks.build, lambda: full))
    network, digest = networks.build("own_networks:recipe", 5, pretrained=True, seed=0, device=CPU)
    assert len(digest) == 64 and (network.plastic[1][0].weight == 1).all()
    _, digest = networks.build("own_networks:recipe", 5, pretrained=False, seed=0, device=CPU)
    assert digest == ""


def test_a_module_given_directly_keeps_its_values_and_is_copied():
    torch.manual_seed(3)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 6)
    )
    network = networks.from_module(module, 6, (32, 32), mean=IMAGENET_MEAN, std=IMAGENET_STD)
    expected = module(Normalise(IMAGENET_MEAN, IMAGENET_STD)(images()))
    torch.testing.assert_close(network.plastic(images()), expected)
    kept = module[0].weight.clone()
    with torch.no_grad():
        network.plastic[1].weight.zero_()
    assert torch.equal(module[0].weight, kept)
    cut = networks.from_module(module, 6, (32, 32), cut="2", mean=HALF)
    assert len(list(cut.frozen.children())) == 3 and not any(p.requires_grad for p in cut.frozen.parameters())
    with pytest.raises(InputError, match=r"= \[2, 7\].*got \[2, 6\]"):
        networks.from_module(module, 7, (32, 32))
    with pytest.raises(InputError, match="unknown stage to cut the network at '9'"):
        networks.from_module(module, 6, (32, 32), cut="9")


def test_other_normalisation_is_another_fingerprint():
    one, other = Normalise(IMAGENET_MEAN, IMAGENET_STD), Normalise(HALF, HALF)
    assert networks.fingerprint(one) != networks.fingerprint(other)


def test_functional_dropout_is_what_the_check_is_for():
    """The negative control: without random numbers the same network passes."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(3072, 2))
    networks.from_module(module, 2, (32, 32))
    module.append(nn.Dropout1d(0.5))
    assert functional.dropout(torch.ones(8), training=False).sum() == 8
    with pytest.raises(InputError, match="global generator"):
        networks.from_module(module, 2, (32, 32))
