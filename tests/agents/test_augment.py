"""Augmentation: torchvision's pixels for the same parameters, its distributions, and draws that resume."""

import pytest
import torch
import torchvision.transforms.v2.functional as witness
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import v2 as torchvision_transforms

from lethe.agents.parts.augment import CutMix, Cutout, RandomCrop, RandomFlip, RandomResizedCrop
from lethe.agents.parts.augment_colour import ColourJitter, RandomGrey
from lethe.common.errors import InputError

COUNT, SIZE = 24, (32, 40)
EVERY = [
    RandomCrop(4),
    RandomResizedCrop(),
    RandomFlip(),
    RandomGrey(0.5),
    ColourJitter(0.4, 0.4, 0.4, 0.1, probability=0.8),
    Cutout(16),
    CutMix(),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = COUNT, size: tuple[int, int] = SIZE) -> Tensor:
    """Smooth images with noise, black, white and grey ones among them."""
    coarse = torch.rand(count, 3, 5, 5, generator=generator(1))
    smooth = torch.nn.functional.interpolate(coarse, size, mode="bilinear")
    noisy = smooth * 235 + 20 * torch.rand(count, 3, *size, generator=generator(2))
    x = noisy.to(torch.uint8)
    x[0], x[1], x[2] = 0, 255, x[2, :1]
    return x


def pixels(out: object) -> Tensor:
    return out if isinstance(out, Tensor) else out.images


def one_by_one(function, x: Tensor, *parameters: Tensor) -> Tensor:
    rows = zip(x, *(values.tolist() for values in parameters), strict=True)
    return torch.stack([function(*row) for row in rows])


def difference(ours: Tensor, theirs: Tensor) -> Tensor:
    return (ours.int() - theirs.int()).abs()


def test_crops_are_torchvisions():
    x, crop = images(), RandomCrop(4)
    drawn = crop.draw(x, generator())

    def theirs(image, top, left):
        return witness.crop(witness.pad(image, 4), top, left, *SIZE)

    assert torch.equal(crop.apply(x, drawn), one_by_one(theirs, x, *drawn))


def test_flipped_images_are_torchvisions():
    x, flip = images(), RandomFlip()
    drawn = flip.draw(x, generator())
    theirs = one_by_one(lambda image, flipped: witness.hflip(image) if flipped else image, x, drawn)
    assert torch.equal(flip.apply(x, drawn), theirs)


def test_resized_crops_are_torchvisions_antialiased_ones_within_a_grey_level():
    """torchvision rounds uint8 after each direction, here it is rounded once; from float32, both round once."""
    x, crop = images(), RandomResizedCrop()
    drawn = crop.draw(x, generator())

    def theirs(image, *box):
        return witness.resized_crop(image, *box, SIZE, InterpolationMode.BILINEAR, antialias=True)

    off = difference(crop.apply(x, drawn), one_by_one(theirs, x, *drawn))
    assert off.max() <= 1 and (off > 0).float().mean() < 0.25

    def in_float(image, *box):
        return theirs(image.float(), *box).round().to(torch.uint8)

    off = difference(crop.apply(x, drawn), one_by_one(in_float, x, *drawn))
    assert off.max() <= 1 and (off > 0).float().mean() < 0.001


def test_grey_images_are_torchvisions():
    x, grey = images(), RandomGrey(0.5)
    drawn = grey.draw(x, generator())
    theirs = one_by_one(lambda image, grey: witness.rgb_to_grayscale(image, 3) if grey else image, x, drawn)
    assert 0 < drawn.sum() < COUNT
    assert torch.equal(grey.apply(x, drawn), theirs)


ADJUST = (witness.adjust_brightness, witness.adjust_contrast, witness.adjust_saturation, witness.adjust_hue)


@pytest.mark.parametrize("kind", range(4))
def test_each_change_of_colour_is_torchvisions_within_a_grey_level(kind):
    """Levels are rounded down, so that a float32 difference in the last place can make one of them."""
    strengths = [0.5 if number == kind else 0.0 for number in range(4)]
    x, jitter = images(), ColourJitter(*strengths)
    drawn = jitter.draw(x, generator())
    theirs = one_by_one(ADJUST[kind], x, drawn.factors[:, kind])
    off = difference(jitter.apply(x, drawn), theirs)
    assert difference(x, theirs).max() > 30
    assert off.max() <= 1 and (off > 0).float().mean() < 0.001


def test_colour_jitter_is_torchvisions_in_each_images_own_order():
    x, jitter = images(), ColourJitter(0.4, 0.4, 0.4, 0.1, probability=0.8)
    drawn = jitter.draw(x, generator())

    def theirs(image, chosen, factors, order):
        for kind in order if chosen else ():
            image = ADJUST[kind](image, factors[kind])
        return image

    expected = one_by_one(theirs, x, *drawn)
    assert len(set(map(tuple, drawn.order.tolist()))) > 10 and not drawn.chosen.all()
    # A level more or less before the hue is turned can be a few after it, where a colour is nearly grey.
    off = difference(jitter.apply(x, drawn), expected)
    assert (off > 1).float().mean() < 0.0005 and (off > 0).float().mean() < 0.005


def test_cutout_erases_as_torchvision_does():
    x, cutout = images(), Cutout(16)
    drawn = cutout.draw(x, generator())

    def theirs(image, top, left, height, width):
        return witness.erase(image, top, left, height, width, torch.zeros(1, dtype=torch.uint8))

    assert torch.equal(cutout.apply(x, drawn), one_by_one(theirs, x, *drawn))
    assert drawn.height.min() < 16 and drawn.height.max() == 16


def test_cutmix_is_torchvisions_rectangle_by_rectangle():
    x, cutmix = images(), CutMix()
    drawn = cutmix.draw(x, generator())
    rolled = drawn._replace(partner=torch.arange(COUNT).roll(1))  # as torchvision pairs
    mixed = cutmix.apply(x, rolled)
    theirs = torchvision_transforms.CutMix(num_classes=COUNT)
    labels = torch.arange(COUNT)
    for row, (top, left, height, width) in enumerate(zip(*(v.tolist() for v in drawn.boxes), strict=True)):
        share = 1.0 - width * height / (SIZE[0] * SIZE[1])
        given = {
            "box": (left, top, left + width, top + height), "lam_adjusted": share, "batch_size": COUNT, "labels": labels
        }  # fmt: skip
        assert torch.equal(mixed.images[row], theirs.transform(x, given)[row])
        torch.testing.assert_close(mixed.share[row], theirs.transform(labels, given)[row, row])
        assert theirs.transform(labels, given)[row, mixed.partner[row]] == pytest.approx(1 - share)


def test_cutmix_replaces_what_the_share_says_by_the_partners_pixels():
    x = torch.arange(COUNT).to(torch.uint8)[:, None, None, None].expand(-1, 3, *SIZE).contiguous()
    mixed = CutMix()(x, generator())
    assert sorted(mixed.partner.tolist()) == list(range(COUNT))
    for row in range(COUNT):
        own = (mixed.images[row] == row).float().mean()
        theirs = (mixed.images[row] == mixed.partner[row]).float().mean()
        assert own == pytest.approx(float(mixed.share[row])) or mixed.partner[row] == row
        assert own + theirs == 1 or mixed.partner[row] == row


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_a_restored_generator_gives_the_same_pixels_and_another_seed_others(transform):
    x, source = images(), generator(3)
    transform(x, source)
    state = source.get_state()
    before = torch.get_rng_state()
    first = transform(x, source)
    again = transform(x, generator(99).set_state(state))
    assert torch.equal(pixels(first), pixels(again))
    assert not torch.equal(pixels(first), pixels(transform(x, source)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_memory_format_stays_and_the_images_given_too(transform, layout):
    x = images().contiguous(memory_format=layout)
    kept = x.clone()
    out = pixels(transform(x, generator()))
    assert out.dtype == torch.uint8 and out.shape == x.shape
    assert out.is_contiguous(memory_format=layout) and torch.equal(x, kept)
    other = pixels(transform(images(), generator()))
    assert torch.equal(out, other)


@pytest.mark.parametrize("transform", EVERY, ids=lambda t: type(t).__name__)
def test_an_image_alone_and_features_are_accepted_and_refused(transform):
    assert pixels(transform(images(1 + 2)[:1], generator())).shape == (1, 3, *SIZE)
    with pytest.raises(InputError, match=r"expected uint8 images \[B, 3, H, W\], got float32 \[2, 8, 4, 4\]"):
        transform(torch.zeros(2, 8, 4, 4), generator())


def test_corners_are_uniform():
    drawn = RandomCrop(2).draw(images().expand(COUNT, 3, *SIZE)[:1].expand(50_000, 3, *SIZE), generator())
    for values in drawn:
        assert torch.allclose(values.bincount(minlength=5) / 50_000, torch.full((5,), 0.2), atol=0.01)


def test_flags_come_with_their_probability():
    many = images()[:1].expand(50_000, 3, *SIZE)
    for transform in (RandomFlip(0.3), RandomGrey(0.3)):
        assert transform.draw(many, generator()).float().mean() == pytest.approx(0.3, abs=0.01)
    assert ColourJitter(0.1, probability=0.3).draw(many, generator()).chosen.float().mean() == pytest.approx(
        0.3, abs=0.01
    )


@pytest.mark.parametrize(
    ("scale", "ratio"), [((0.08, 1.0), (3 / 4, 4 / 3)), ((0.3, 0.4), (0.9, 1.1)), ((1.0, 1.0), (0.2, 0.25))]
)
def test_rectangles_are_distributed_as_torchvisions(scale, ratio):
    """Quantiles of 4,000 draws each; the last case never fits, so that the centred crop is taken."""
    crop = RandomResizedCrop(scale, ratio)
    ours = torch.stack(crop.draw(images()[:1].expand(4_000, 3, *SIZE), generator())).double()
    torch.manual_seed(0)
    theirs = torchvision_transforms.RandomResizedCrop(SIZE, scale, ratio)
    given = [theirs.make_params([images()[0]]) for _ in range(4_000)]
    expected = torch.tensor([[d[key] for d in given] for key in ("top", "left", "height", "width")]).double()
    at = torch.tensor([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98], dtype=torch.float64)
    assert (ours.quantile(at, 1) - expected.quantile(at, 1)).abs().max() <= 1
    assert torch.allclose(ours.mean(1), expected.mean(1), atol=0.5)
    inside = (ours[0] >= 0) & (ours[1] >= 0) & (ours[0] + ours[2] <= SIZE[0]) & (ours[1] + ours[3] <= SIZE[1])
    assert inside.all() and ours[2:].min() >= 1


def test_factors_are_uniform_and_every_order_is_equally_likely():
    jitter = ColourJitter(0.4, 1.5, 0.2, 0.1)
    drawn = jitter.draw(images()[:1].expand(48_000, 3, *SIZE), generator())
    low, high = torch.tensor([0.6, 0.0, 0.8, -0.1]), torch.tensor([1.4, 2.5, 1.2, 0.1])
    assert (drawn.factors >= low).all() and (drawn.factors <= high).all()
    quarters = ((drawn.factors - low) / (high - low)).quantile(torch.tensor([0.25, 0.5, 0.75]), 0)
    assert torch.allclose(quarters, torch.tensor([0.25, 0.5, 0.75])[:, None].expand(3, 4), atol=0.01)
    orders, counts = drawn.order.unique(dim=0, return_counts=True)
    assert len(orders) == 24 and (counts / 48_000 - 1 / 24).abs().max() < 0.005


def test_cutmix_keeps_half_on_average_before_rectangles_are_cut_at_the_edge():
    drawn = CutMix().draw(images()[:1].expand(50_000, 3, *SIZE), generator())
    top, left, height, width = drawn.boxes
    whole = (top > 0) & (left > 0) & (top + height < SIZE[0]) & (left + width < SIZE[1])
    assert whole.any() and (height >= 0).all() and (width <= SIZE[1]).all()
    # E[1 - lambda] = 1/2, of which the edge leaves (integral over sides s^2 = u) E[s (1 - s/4)]^2 per image.
    uniform = torch.linspace(0, 1, 10_001, dtype=torch.float64).sqrt()
    expected = ((uniform - uniform**2 / 4) ** 2).mean()
    share = (height * width).double().mean() / (SIZE[0] * SIZE[1])
    assert share == pytest.approx(float(expected), abs=0.03)


def test_cutout_centres_are_uniform():
    drawn = Cutout(16).draw(images()[:1].expand(50_000, 3, *SIZE), generator())
    top = (drawn.top[drawn.height == 16]).bincount()
    assert len(top) == SIZE[0] - 15 and (top / top.sum() - 1 / len(top)).abs().max() < 0.01
