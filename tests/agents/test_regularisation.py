"""L2, online EWC, SI, MAS and LwF against their papers' formulas, written out a second time.

Every test that compares with a formula runs three tasks, so that what happens at the second and the third
end of a task is in it.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lethe.agents import registry
from lethe.agents.base import Network
from lethe.agents.contract.toy import CPU, PROBLEM, Batches, TinyNet, batch, build
from lethe.agents.ewc import EWC
from lethe.agents.ewc_online import EWCOnline
from lethe.agents.finetune import Finetune
from lethe.agents.l2 import L2
from lethe.agents.lwf import LwF, distillation
from lethe.agents.mas import MAS, absolute_gradients
from lethe.agents.networks.layers import Dropout
from lethe.agents.si import SI
from lethe.common.errors import InputError
from tests.agents.vectors import by_name, penalty_gradient

FAMILY = ["ewc", "ewc_online", "l2", "lwf", "mas", "si"]
TASKS = [[0, 1], [2, 3], [0, 3]]
SEEN = torch.tensor([True, True, False, True])


def parameters(agent):
    """Copies of the parameters by name."""
    return {name: p.detach().clone() for name, p in agent.network.plastic.named_parameters()}


def observe(agent, labels, steps, seed=0):
    for step in range(steps):
        logged = agent.observe(*batch(labels * 5, seed=100 * seed + step))
    return logged


def end_task(agent, labels, seed=0):
    """The task's end, with 25 images: at the default batch size of 10 the last batch is short."""
    agent.end_task(None, Batches(*batch((labels * 13)[:25], seed=seed)))


def close(ours, oracle, rtol=1e-3, atol=1e-7):
    """Equal by name within `rtol`, and not trivially so."""
    assert ours.keys() == oracle.keys()
    for name, value in oracle.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(ours[name], value, rtol=rtol, atol=atol, msg=lambda m, n=name: f"{n}: {m}")


def learned(agent_class, **settings):
    agent = build(agent_class, **settings)
    for task, labels in enumerate(TASKS):
        observe(agent, labels, 3, seed=task)
        if agent.needs.task_boundaries:
            end_task(agent, labels, seed=task)
    return parameters(agent)


@pytest.mark.parametrize("name", FAMILY)
def test_without_penalty_it_is_finetune_to_the_bit_and_with_one_it_is_not(name):
    plain = learned(Finetune)
    setting = "distillation_weight" if name == "lwf" else "penalty_weight"
    without, with_ = (learned(registry.get(name), **{setting: weight}) for weight in (0.0, 0.5))
    assert all(torch.equal(without[n], p) for n, p in plain.items())
    assert not any(torch.equal(with_[n], p) for n, p in plain.items())


@pytest.mark.parametrize("name", FAMILY)
def test_the_first_task_is_learned_without_penalty(name):
    agent, plain = build(registry.get(name)), build(Finetune)
    observe(agent, [0, 1], 3)
    observe(plain, [0, 1], 3)
    assert all(torch.equal(p, parameters(plain)[n]) for n, p in parameters(agent).items())


@pytest.mark.parametrize("name", ["ewc", "ewc_online", "l2", "mas", "si"])
def test_the_gradient_of_the_penalty_is_that_of_its_value_and_adds_to_that_of_the_loss(name):
    agent = build(registry.get(name), penalty_weight=3.0)
    for task, labels in enumerate(TASKS):
        observe(agent, labels, 3, seed=task)
        end_task(agent, labels, seed=task)
    observe(agent, [1, 2], 3, seed=9)
    named = dict(agent.network.plastic.named_parameters())
    importance = by_name(agent, agent.importance.expand(len(agent.theta)))
    anchor = by_name(agent, agent.anchor)
    squares = [(importance[n] * (p - anchor[n]) ** 2).sum() for n, p in named.items()]
    value = sum(squares) * 3.0 * (0.5 if name.startswith("ewc") else 1.0)
    derived = dict(zip(named, torch.autograd.grad(value, list(named.values())), strict=True))
    loss_gradient = torch.full_like(agent.theta, 0.25)
    ours, penalty = agent.penalised(loss_gradient)
    torch.testing.assert_close(penalty, value.detach())
    close(by_name(agent, ours - 0.25), derived, rtol=1e-3, atol=1e-6)
    assert (loss_gradient == 0.25).all()  # SI goes on with it


@pytest.mark.parametrize("name", ["ewc", "ewc_online", "l2", "mas", "si"])
def test_the_largest_penalty_leaves_the_first_task_alone_and_then_is_told_by_the_loss(name):
    with pytest.raises(InputError, match="penalty_weight: expected at most 1e\\+30, got 1e\\+31"):
        build(registry.get(name), penalty_weight=1e31)
    agent, plain = build(registry.get(name), penalty_weight=1e30), build(Finetune)
    observe(agent, [0, 1], 3)
    observe(plain, [0, 1], 3)
    assert all(torch.equal(p, parameters(plain)[n]) for n, p in parameters(agent).items())
    end_task(agent, [0, 1])
    assert not observe(agent, [2, 3], 3)["loss"].isfinite()
    end_task(agent, [2, 3])  # whatever it makes of it, it does not stop the run before the loss is told


def test_l2_pulls_every_parameter_alike_to_the_last_solution():
    agent = build(L2, penalty_weight=3.0)
    for task, labels in enumerate(TASKS):
        observe(agent, labels, 2, seed=task)
        end_task(agent, labels)
        old = parameters(agent)
    observe(agent, [1, 2], 1, seed=9)
    paper = {name: 2 * 3.0 * (p - old[name]) for name, p in parameters(agent).items()}
    close(penalty_gradient(agent), paper)


def test_online_ewc_adds_to_a_decayed_importance_around_the_last_solution():
    agent = build(EWCOnline, penalty_weight=7.0, decay=0.5)
    fishers = []
    for task, labels in enumerate(TASKS):
        observe(agent, labels, 2, seed=task)
        state = agent.generator.get_state()
        fishers.append(by_name(agent, agent.fisher(Batches(*batch((labels * 13)[:25], seed=task)))))
        agent.generator.set_state(state)  # so that the same labels are drawn again
        end_task(agent, labels, seed=task)
        old = parameters(agent)
    observe(agent, [1, 2], 1, seed=9)
    first, second, third = fishers
    paper = {
        name: 7.0 * (0.25 * first[name] + 0.5 * second[name] + third[name]) * (p - old[name])
        for name, p in parameters(agent).items()
    }
    close(penalty_gradient(agent), paper)


def test_online_ewc_is_ewc_until_the_second_task_ends():
    online, separate = build(EWCOnline, penalty_weight=7.0), build(EWC, penalty_weight=7.0)
    for task, labels in enumerate(TASKS[:2]):
        for agent in (online, separate):
            observe(agent, labels, 3, seed=task)
        ours, other = penalty_gradient(online), penalty_gradient(separate)
        assert all(torch.equal(ours[name], other[name]) for name in ours)
        for agent in (online, separate):
            end_task(agent, labels, seed=task)
    assert not any(g.any() for g in penalty_gradient(online).values())  # one anchor, and it stands on it
    assert any(g.any() for g in penalty_gradient(separate).values())


def sensitivities(module, x, seen):
    """Σ over images of |∂ ‖f(x)‖² / ∂θ|, with one backward pass an image."""
    named = dict(module.named_parameters())
    total = {name: torch.zeros_like(p) for name, p in named.items()}
    for image in x:
        squared_norm = (module(image[None])[0, seen] ** 2).sum()
        for name, g in zip(named, torch.autograd.grad(squared_norm, list(named.values())), strict=True):
            total[name] += g.abs()
    return total


def test_mas_sums_the_absolute_gradients_of_single_images():
    module, (x, _) = TinyNet(), batch([0, 1, 3, 3, 0], seed=1)
    ours = absolute_gradients(module, x, SEEN)
    oracle = sensitivities(module, x, SEEN)
    for name, value in oracle.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5)
    assert not ours["head.bias"][2]  # the score of a label that was not seen
    assert ours["head.bias"][SEEN].all()


def test_the_absolute_gradient_of_a_batch_is_something_else():
    """The negative control: what the authors' code computes must fail the comparison."""
    module, (x, _) = TinyNet(), batch([0, 1, 3, 3, 0], seed=1)
    squared_norms = module(x)[:, SEEN].square().sum()
    of_batch = sum(g.abs().sum() for g in torch.autograd.grad(squared_norms, list(module.parameters())))
    exact = sum(g.sum() for g in absolute_gradients(module, x, SEEN).values())
    assert of_batch < 0.98 * exact


def test_mas_adds_up_the_mean_sensitivity_of_each_task():
    agent = build(MAS, penalty_weight=0.5)
    total, seen = {name: 0 for name in parameters(agent)}, torch.zeros(4, dtype=torch.bool)
    for task, labels in enumerate(TASKS):
        observe(agent, labels, 2, seed=task)
        end_task(agent, labels, seed=task)
        seen[labels] = True
        x, _ = batch((labels * 13)[:25], seed=task)
        for name, value in sensitivities(copy.deepcopy(agent.network.plastic), x, seen).items():
            total[name] = total[name] + value / 25
        old = parameters(agent)
    observe(agent, [1, 2], 1, seed=9)
    paper = {n: 2 * 0.5 * total[n] * (p - old[n]) for n, p in parameters(agent).items()}
    close(penalty_gradient(agent), paper)


def synaptic_intelligence(tasks, c, xi, lr):
    """Zenke et al., written out: (θ, Ω, the lowest w) after `tasks`, lists of (x, y) a task."""
    net, seen = TinyNet(), set()
    theta = list(net.parameters())
    sgd = torch.optim.SGD(theta, lr=lr, momentum=0.9, weight_decay=1e-4)
    omega = [torch.zeros_like(p) for p in theta]
    start = [p.detach().clone() for p in theta]
    lowest = 0.0
    for steps in tasks:
        w = [torch.zeros_like(p) for p in theta]
        for x, y in steps:
            seen |= set(y.tolist())
            columns = sorted(seen)
            target = torch.tensor([columns.index(label) for label in y.tolist()])
            gradients = torch.autograd.grad(F.cross_entropy(net(x)[:, columns], target), theta)
            before = [p.detach().clone() for p in theta]
            for p, g, o, s in zip(theta, gradients, omega, start, strict=True):
                p.grad = g + c * o * 2 * (p.detach() - s)  # the gradient of equation 4
            sgd.step()
            for w_i, g, p, old in zip(w, gradients, theta, before, strict=True):
                w_i -= g * (p.detach() - old)  # equation 3
        for o, w_i, p, s in zip(omega, w, theta, start, strict=True):
            o += torch.relu(w_i) / ((p.detach() - s) ** 2 + xi)  # equation 5
        lowest = min(lowest, *(w_i.min().item() for w_i in w))
        start = [p.detach().clone() for p in theta]
    return theta, omega, lowest


def test_si_follows_the_paper_step_by_step():
    agent = build(SI, penalty_weight=40.0, damping=0.01)
    tasks = [[batch(labels * 5, seed=10 * t + s) for s in range(6)] for t, labels in enumerate(TASKS)]
    for steps in tasks:
        for x, y in steps:
            agent.observe(x, y)
        agent.end_task(None, None)
    theta, omega, lowest = synaptic_intelligence(tasks, c=40.0, xi=0.01, lr=0.02)
    names = list(parameters(agent))
    close(by_name(agent, agent.importance), dict(zip(names, omega, strict=True)), atol=1e-6)
    close(parameters(agent), {n: p.detach() for n, p in zip(names, theta, strict=True)}, atol=1e-5)
    assert lowest < 0  # else nothing was clipped, and the comparison says nothing about it


def test_si_penalty_has_the_gradient_of_the_paper():
    agent = build(SI, penalty_weight=0.5)
    for task, labels in enumerate(TASKS):
        observe(agent, labels, 3, seed=task)
        end_task(agent, labels)
        old = parameters(agent)
    observe(agent, [1, 2], 1, seed=9)
    importance = by_name(agent, agent.importance)
    paper = {n: 2 * 0.5 * importance[n] * (p - old[n]) for n, p in parameters(agent).items()}
    close(penalty_gradient(agent), paper)


def test_distillation_has_the_gradient_of_the_cross_entropy_of_softened_probabilities():
    generator = torch.Generator().manual_seed(0)
    old_scores, scores = torch.randn(2, 6, 3, generator=generator) * 2
    scores.requires_grad_()
    ours = torch.autograd.grad(distillation(scores, old_scores, 2.0), scores)[0]

    def softened(probabilities):  # equation 3
        powers = probabilities ** (1 / 2.0)
        return powers / powers.sum(1, keepdim=True)

    recorded, current = softened(old_scores.softmax(1)), softened(scores.softmax(1))
    paper = -(recorded * current.log()).sum(1).mean()  # equation 2
    torch.testing.assert_close(ours, torch.autograd.grad(paper, scores)[0], rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(
        distillation(old_scores, old_scores, 2.0), torch.tensor(0.0), atol=1e-6, rtol=0
    )


def test_lwf_steps_down_the_loss_of_the_paper_on_the_labels_of_the_last_tasks_network():
    agent = build(LwF, distillation_weight=0.7, temperature=3.0, momentum=0.0, weight_decay=0.0)
    old, old_labels, seen = None, [], set()
    for task, labels in enumerate([[0, 3], [1], [2, 0]]):
        for step in range(2):
            x, y = batch(labels * 5, seed=10 * task + step)
            seen |= set(labels)
            net = copy.deepcopy(agent.network.plastic)
            columns = sorted(seen)
            target = torch.tensor([columns.index(label) for label in y.tolist()])
            loss = F.cross_entropy(net(x)[:, columns], target)
            if old is not None:
                recorded = (old(x)[:, old_labels] / 3).softmax(1).detach()
                loss = loss + 0.7 * F.cross_entropy(net(x)[:, old_labels] / 3, recorded)
            loss.backward()
            agent.observe(x, y)
            for ours, p in zip(agent.network.plastic.parameters(), net.parameters(), strict=True):
                torch.testing.assert_close(ours, p - 0.02 * p.grad, rtol=1e-4, atol=1e-6)
        agent.end_task(None, None)
        old, old_labels = copy.deepcopy(agent.network.plastic), columns


def test_lwf_asks_the_old_network_without_dropout():
    plastic = nn.Sequential(TinyNet(), Dropout(0.5, seed=0, device=CPU))
    agent = LwF(PROBLEM, LwF.Config(lr=0.02), Network(nn.Identity(), plastic), seed=0, device=CPU)
    observe(agent, [0, 1], 2)
    agent.end_task(None, None)
    agent.network.train()  # as the loop does after each evaluation
    x, y = batch([2, 3], seed=7)
    teacher = copy.deepcopy(plastic).eval()(x)[:, :2].detach()
    student = copy.deepcopy(plastic)(x)[:, :2].detach()
    logged = agent.observe(x, y)
    torch.testing.assert_close(logged["distillation"], distillation(student, teacher, 2.0))


@pytest.mark.parametrize(("name", "weight"), [("ewc_online", 20.0), ("l2", 5.0), ("mas", 1.0), ("si", 20.0)])
def test_a_penalty_holds_important_parameters_back(name, weight):
    moved = {}
    for chosen in (0.0, weight):
        agent = build(registry.get(name), penalty_weight=chosen)
        observe(agent, [0, 1], 10)
        end_task(agent, [0, 1])
        observe(agent, [2, 3], 10, seed=1)
        moved[chosen] = (agent.importance * (agent.theta - agent.anchor).square()).sum().item()
    assert moved[weight] < 0.5 * moved[0.0]


def test_distillation_keeps_old_answers():
    drift = {}
    for weight in (0.0, 2.0):
        agent = build(LwF, distillation_weight=weight)
        observe(agent, [0, 1], 10)
        agent.end_task(None, None)
        drift[weight] = observe(agent, [2, 3], 20, seed=1)["distillation"].item()
    assert drift[2.0] < 0.5 * drift[0.0]


@pytest.mark.parametrize(
    ("name", "copies", "more"),
    [("l2", 1, 4), ("ewc_online", 2, 0), ("mas", 2, 0), ("si", 3, 0), ("lwf", 1, 2 * 8)],
)
def test_memory_is_so_many_copies_of_the_parameters(name, copies, more):
    """Beside them: one flag a label; for L2 one number; for LwF the old labels (2)."""
    agent = build(registry.get(name))
    observe(agent, [0, 1], 1)
    end_task(agent, [0, 1])
    of_parameters = sum(p.numel() * 4 for p in agent.network.plastic.parameters())
    assert agent.memory_bytes() == copies * of_parameters + PROBLEM.num_classes + more
