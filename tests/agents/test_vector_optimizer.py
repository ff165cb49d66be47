"""SGD on one vector against PyTorch's SGD on every parameter, and what may happen to a module around it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents.contract.toy import CPU
from lethe.agents.networks import build as networks
from lethe.agents.parts.vector_optimizer import VectorSGD

SETTINGS = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}


def net():
    """Parameters of four shapes, some of them channels_last, none of a size that vector units divide."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 7, 1, bias=False), nn.Flatten(), nn.Linear(7 * 16, 3)
    )
    return module.to(memory_format=torch.channels_last)


def loss_of(module, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, 6, 6, generator=generator)
    return F.cross_entropy(module(x), torch.tensor([0, 1, 2, 0]))


def pair():
    """The same module twice: with PyTorch's optimiser, and with one vector."""
    plain, module = net(), net()
    return (
        plain,
        torch.optim.SGD(plain.parameters(), **SETTINGS),
        module,
        VectorSGD(module.parameters(), **SETTINGS),
    )


def same(plain, module):
    return all(torch.equal(a, b) for a, b in zip(plain.parameters(), module.parameters(), strict=True))


@pytest.fixture(autouse=True)
def global_generator():
    state = torch.get_rng_state()
    yield
    torch.set_rng_state(state)


def test_its_steps_are_those_of_sgd():
    plain, theirs, module, ours = pair()
    start = copy.deepcopy(module)
    for step in range(5):
        for network, optimizer in ((plain, theirs), (module, ours)):
            optimizer.zero_grad()
            loss_of(network, step).backward()
            optimizer.step()
        for a, b in zip(plain.parameters(), module.parameters(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    assert not any(torch.equal(a, b) for a, b in zip(start.parameters(), module.parameters(), strict=True))


def test_gradients_add_up_until_zero_grad():
    _, _, module, optimizer = pair()
    for seed in (0, 1):
        loss_of(module, seed).backward()
    both = optimizer.collect().clone()
    optimizer.zero_grad()
    loss_of(module, 0).backward()
    first = optimizer.collect().clone()
    optimizer.zero_grad()
    assert not optimizer.collect().any()
    loss_of(module, 1).backward()
    torch.testing.assert_close(first + optimizer.collect(), both)
    assert first.abs().max() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_vectors_hold_what_the_parameters_hold_in_shape_and_layout(layout):
    module = net().to(memory_format=layout)
    before = [p.detach().clone() for p in module.parameters()]
    strides = [p.stride() for p in module.parameters()]
    optimizer = VectorSGD(module.parameters(), **SETTINGS)
    assert [p.stride() for p in module.parameters()] == strides
    for p, old, view in zip(module.parameters(), before, optimizer.views(optimizer.theta), strict=True):
        assert torch.equal(p, old) and torch.equal(view, old)
        assert view.data_ptr() == p.data_ptr() and view.stride() == p.stride()
    assert torch.equal(optimizer.gather(before), optimizer.theta)
    # Tensors that lie in memory in another way are put in the same places.
    assert torch.equal(optimizer.gather([t.contiguous() for t in before]), optimizer.theta)
    optimizer.theta.mul_(2)
    assert all(torch.equal(p, 2 * old) for p, old in zip(module.parameters(), before, strict=True))


def test_gradients_are_accumulated_in_place():
    """What makes it fast: no gradient is copied together after a backward pass."""
    module = net()
    optimizer = VectorSGD(module.parameters(), **SETTINGS)
    loss_of(module, 0).backward()
    parts = optimizer.views(optimizer.gradient)
    for p, part in zip(module.parameters(), parts, strict=True):
        assert p.grad.data_ptr() == part.data_ptr() and p.grad.abs().max() > 0


def test_the_modules_own_zero_grad_does_no_harm():
    """It takes the gradients' places away; they are found where they are, and put back."""
    plain, theirs, module, ours = pair()
    for step in range(3):
        for network, optimizer in ((plain, theirs), (module, ours)):
            network.zero_grad()
            loss_of(network, step).backward()
            optimizer.step()
    for a, b in zip(plain.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    parts = ours.views(ours.gradient)
    assert all(p.grad.data_ptr() == part.data_ptr() for p, part in zip(ours.parameters, parts, strict=True))


def test_a_parameter_without_a_gradient_counts_as_one_with_a_gradient_of_zero():
    _, _, module, optimizer = pair()
    loss_of(module, 0).backward()  # what must not be found again
    module.zero_grad()
    module[0](torch.ones(1, 3, 6, 6)).sum().backward()
    gradient = optimizer.collect()
    used = sum(p.numel() for p in module[0].parameters())
    assert gradient[:used].abs().max() > 0 and not gradient[used:].any()


def test_parameters_that_were_moved_away_are_told():
    module = net()
    optimizer = VectorSGD(module.parameters(), **SETTINGS)
    module.to(memory_format=torch.contiguous_format)
    loss_of(module, 0).backward()
    with pytest.raises(RuntimeError, match="they were moved: build the optimiser after"):
        optimizer.step()


def test_a_second_optimiser_takes_the_parameters_from_the_first():
    module = net()
    first, second = VectorSGD(module.parameters(), **SETTINGS), VectorSGD(module.parameters(), **SETTINGS)
    loss_of(module, 0).backward()
    second.step()
    with pytest.raises(RuntimeError, match="moved: build the optimiser after"):
        first.step()


def test_frozen_parameters_are_refused_and_those_frozen_later_are_told():
    """They would go on moving, by momentum and weight decay."""
    module = net()
    optimizer = VectorSGD(module.parameters(), **SETTINGS)
    module[0].requires_grad_(False)
    loss_of(module, 0).backward()
    with pytest.raises(RuntimeError, match="one was frozen: build a new one, of those that still learn"):
        optimizer.step()
    with pytest.raises(ValueError, match="leave out what is frozen"):
        VectorSGD(module.parameters(), **SETTINGS)
    before = [p.clone() for p in module[0].parameters()]
    learning = VectorSGD([p for p in module.parameters() if p.requires_grad], **SETTINGS)
    loss_of(module, 0).backward()
    learning.step()
    assert all(torch.equal(p, old) for p, old in zip(module[0].parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ([], "none"),
        (
            [nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2).bfloat16())],
            "bfloat16 on cpu, torch.float32",
        ),
    ],
)
def test_what_does_not_make_a_vector_is_refused(parameters, found):
    with pytest.raises(ValueError, match=f"expected parameters of one type on one device, got .*{found}"):
        VectorSGD(parameters, **SETTINGS)


@pytest.mark.parametrize("which", ["module", "groups"])
def test_gradients_can_be_clipped_as_usual(which):
    plain, theirs, module, ours = pair()
    for network, optimizer in ((plain, theirs), (module, ours)):
        optimizer.zero_grad()
        loss_of(network, 0).backward()
        groups = [p for group in optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(network.parameters() if which == "module" else groups, 1e-3)
        optimizer.step()
    for a, b in zip(plain.parameters(), module.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)
    assert ours.gradient.norm() == pytest.approx(1e-3, rel=1e-3)


def test_a_graph_from_before_a_step_is_not_gone_back_through():
    _, _, module, optimizer = pair()
    first, second = loss_of(module, 0), loss_of(module, 1)
    first.backward()
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        second.backward()


def test_values_copied_in_place_are_learned_on():
    module = net()
    optimizer = VectorSGD(module.parameters(), **SETTINGS)
    saved = copy.deepcopy(module.state_dict())
    loss_of(module, 0).backward()
    optimizer.step()
    module.load_state_dict(saved)
    assert all(torch.equal(saved[name], value) for name, value in module.state_dict().items())
    assert torch.equal(optimizer.theta, optimizer.gather(saved.values()))


def test_state_continues_to_the_bit():
    _, _, module, optimizer = pair()
    loss_of(module, 0).backward()
    optimizer.step()
    weights, state = copy.deepcopy(module.state_dict()), copy.deepcopy(optimizer.state_dict())
    _, _, other, continued = pair()
    other.load_state_dict(weights)
    continued.load_state_dict(state)
    for network, sgd in ((module, optimizer), (other, continued)):
        sgd.zero_grad()
        loss_of(network, 1).backward()
        sgd.step()
    assert same(module, other)


def test_a_copy_of_the_module_is_independent():
    module = net()
    optimizer = VectorSGD(module.parameters(), **SETTINGS)
    twin = copy.deepcopy(module)
    loss_of(module, 0).backward()
    optimizer.step()
    assert same(net(), twin) and not same(module, twin)


def test_a_copy_with_its_module_goes_on_like_the_original():
    _, _, module, optimizer = pair()
    optimizer.add_param_group({"params": [torch.ones(3, requires_grad=True)], "lr": 0.5})
    loss_of(module, 0).backward()
    optimizer.step()
    twin, copied = copy.deepcopy((module, optimizer))
    assert same(module, twin) and copied.param_groups[1]["lr"] == 0.5
    for network, sgd in ((module, optimizer), (twin, copied)):
        sgd.zero_grad()
        (loss_of(network, 1) + sgd.param_groups[1]["params"][0].sum()).backward()
        sgd.step()
        if network is module:
            assert not same(module, twin), "the copy has its own memory"
    assert same(module, twin)
    one, other = (sgd.param_groups[1]["params"][0] for sgd in (optimizer, copied))
    assert one is not other and torch.equal(one, other)


def test_a_further_group_is_stepped_and_cleared_as_usual():
    _, _, module, optimizer = pair()
    extra = torch.ones(3, requires_grad=True)
    optimizer.add_param_group({"params": [extra]})
    (extra.sum() + loss_of(module, 0)).backward()
    optimizer.step()
    assert torch.equal(extra.detach(), torch.full((3,), 1 - 0.05 * (1 + 0.01)))
    optimizer.zero_grad()
    assert extra.grad is None
    with pytest.raises(ValueError, match="in no group yet"):
        optimizer.add_param_group({"params": module[-1].parameters(), "lr": 0.5})


def test_a_closure_is_called_with_gradients():
    _, _, module, optimizer = pair()

    def closure():
        optimizer.zero_grad()
        loss = loss_of(module, 0)
        loss.backward()
        return loss

    before = optimizer.theta.clone()
    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.isfinite() and not torch.equal(before, optimizer.theta)


def test_the_small_networks_parameters_lie_as_they_did():
    """In channels_last, so that no layer converts anything."""
    network = networks.build("small", 10, cut=None, pretrained=False, seed=0, device=CPU)[0]
    strides = [p.stride() for p in network.plastic.parameters()]
    VectorSGD(network.plastic.parameters(), **SETTINGS)
    assert [p.stride() for p in network.plastic.parameters()] == strides
    assert any(
        p.is_contiguous(memory_format=torch.channels_last)
        for p in network.plastic.parameters()
        if p.ndim == 4
    )
