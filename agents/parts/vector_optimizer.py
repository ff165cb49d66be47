"""Optimisers on all parameters of a network as one vector θ: PyTorch's SGD, Adam, AdamW and Adamax.

A step is then one pass over memory instead of one for each parameter, and whoever weighs, compares or projects
gradients writes what the papers write: `importance * (theta - anchor)`.
"""

import copy
import math
from abc import abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, Self, overload

import torch
from torch import Tensor, nn

Schedule = Callable[[int], float]
"""Share of a group's starting learning rate, from the number of optimiser steps, or epochs, that the group has made."""

_BETA2 = 0.999  # PyTorch's decay of second moments (Adam, AdamW) or of the infinity norm (Adamax)


def step_schedule(every: int, factor: float) -> Schedule:
    """factor^⌊n / every⌋ at step n, as `torch.optim.lr_scheduler.StepLR`."""
    return lambda step: factor ** (step // every)


def cosine_schedule(steps: int, last: float) -> Schedule:
    """From 1 at step 0 along half a cosine to `last` at step `steps`, then constant.

    As `torch.optim.lr_scheduler.CosineAnnealingLR` up to `steps`, after which that one rises again.
    """

    def share(step: int) -> float:
        return last + (1 - last) * (1 + math.cos(math.pi * min(step, steps) / steps)) / 2

    return share


class VectorOptimizer(torch.optim.Optimizer):
    """An optimiser of PyTorch, for parameters that it moves into one vector, and their gradients into another.

    A subclass names PyTorch's class second: `class VectorSGD(VectorOptimizer, torch.optim.SGD)`.

    The network works as before: its parameters keep their shapes and layouts, and share memory with the vectors.
    `zero_grad`, `backward`, `step` and gradient clipping do what they do elsewhere, except that a parameter without a
    gradient counts as one whose gradient is zero. Parameters have one floating-point type and require gradients;
    anything else is a `ValueError`. To freeze parameters later, build a new optimiser of those that still learn.

    With a `schedule`, each step first sets the learning rate of every group to its starting rate, `initial_lr` in
    the group, times the schedule's share at the group's own count of `steps`; both are saved with the group. So is the
    number of `steps_of_unit`, steps that the schedule counts as one: 1, unless `begin_schedule` says otherwise. Without
    a schedule (None), learning rates are the caller's to set.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        momentum: float,
        weight_decay: float,
        schedule: Schedule | None = None,
    ):
        self.schedule = schedule
        self._settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        self.parameters = list(parameters)
        """In the order in which they came."""
        _check(self.parameters)
        self._axes = [_axes_in_memory(p) for p in self.parameters]
        self.theta = self.gather(self.parameters)
        """θ [P], all parameters one after the other, each in the order in which it lies in memory."""
        self.gradient = torch.zeros_like(self.theta)
        """The gradient [P] of what `backward` was called on since `zero_grad`; see `collect`."""
        for p, view in zip(self.parameters, self.views(self.theta), strict=True):
            p.data = view
        self._places = [p.data_ptr() for p in self.parameters]
        self._gradients = self.views(self.gradient)
        self._begin(lr, momentum, weight_decay)
        self.zero_grad()

    @abstractmethod
    def _begin(self, lr: float, momentum: float, weight_decay: float) -> None:
        """Call PyTorch's constructor for `theta`; `momentum` is β1 of Adam and its kin."""

    def gather(self, tensors: Iterable[Tensor]) -> Tensor:
        """A new vector [P] of tensors in the shapes of the parameters."""
        return torch.cat([
            tensor.detach().permute(axes).reshape(-1)
            for tensor, axes in zip(tensors, self._axes, strict=True)
        ])  # fmt: skip

    def views(self, vector: Tensor) -> list[Tensor]:
        """The parts of a vector [P] in the shapes of the parameters, which share its memory."""
        parts = vector.split([p.numel() for p in self.parameters])
        found = []
        for part, p, axes in zip(parts, self.parameters, self._axes, strict=True):
            lying = part.view([p.shape[axis] for axis in axes])
            found.append(lying.permute([axes.index(axis) for axis in range(p.ndim)]))
        return found

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """A further group of tensors, which are not in the vector; `ValueError` if one of them is."""
        given = param_group["params"]
        given = param_group["params"] = [given] if isinstance(given, Tensor) else list(given)
        if any(p is known for p in given for known in self.parameters):
            raise ValueError("expected parameters that are in no group yet, got one that is in the vector")
        super().add_param_group(param_group)
        if self.schedule is not None:
            group = self.param_groups[-1]
            group.setdefault("initial_lr", group["lr"])
            group.setdefault("steps", 0)
            group.setdefault("steps_of_unit", 1)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: those of the vector become zero, those of further groups None."""
        # Not by PyTorch's method, which takes a fiftieth of a small network's step.
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None
        self.theta.grad = self.gradient.zero_()
        for p, view in zip(self.parameters, self._gradients, strict=True):
            p.grad = view

    def collect(self) -> Tensor:
        """`gradient`, after `backward`: with what was not accumulated in it, as after a network's own `zero_grad`.

        `RuntimeError` where parameters no longer lie in the vector, or no longer want a gradient.
        """
        for p, view, place in zip(self.parameters, self._gradients, self._places, strict=True):
            if p.data_ptr() != place or not p.requires_grad:
                raise RuntimeError(_LOST if p.requires_grad else _FROZEN)
            if p.grad is not view:
                view.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
                p.grad = view
        return self.gradient

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], float]) -> float: ...
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One step along the gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.descend(self.collect())
        return loss

    def descend(self, gradient: Tensor) -> None:
        """One step along `gradient` [P], whatever `backward` found."""
        self.theta.grad = gradient
        if self.schedule is not None:
            for group in self.param_groups:
                group["lr"] = group["initial_lr"] * self.schedule(group["steps"] // group["steps_of_unit"])
                group["steps"] += 1
        super().step()
        # The parameters changed behind autograd's back, which must not go backward through what they were.
        torch.autograd.graph.increment_version(self.parameters)

    def restart(self) -> None:
        """Forget moments and steps, as if no step had been made; parameters stay where they are."""
        self.state.clear()
        if self.schedule is not None:
            for group in self.param_groups:
                group["lr"], group["steps"] = group["initial_lr"], 0

    def begin_schedule(self, steps_of_unit: int) -> None:
        """Begin the schedule anew, which counts as one so many steps, such as those of an epoch; moments stay."""
        for group in self.param_groups:
            group["steps"], group["steps_of_unit"] = 0, steps_of_unit

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """An optimiser of the copies of the parameters, with a copy of the state."""
        twin = type(self)(copy.deepcopy(self.parameters, memo), **self._settings, schedule=self.schedule)
        for group in self.param_groups[1:]:
            twin.add_param_group(copy.deepcopy(group, memo))
        twin.load_state_dict(copy.deepcopy(self.state_dict()))
        memo[id(self)] = twin
        return twin


# One fused pass over memory where PyTorch has it on the CPU: its bits do not depend on the number of threads.


class VectorSGD(VectorOptimizer, torch.optim.SGD):
    """SGD with momentum; weight decay is added to the gradient."""

    def _begin(self, lr: float, momentum: float, weight_decay: float) -> None:
        torch.optim.SGD.__init__(
            self, [self.theta], lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
        )


class VectorAdam(VectorOptimizer, torch.optim.Adam):
    """Adam; weight decay is added to the gradient, which is then normalised."""

    def _begin(self, lr: float, momentum: float, weight_decay: float) -> None:
        betas = (momentum, _BETA2)
        torch.optim.Adam.__init__(
            self, [self.theta], lr=lr, betas=betas, weight_decay=weight_decay, fused=True
        )


class VectorAdamW(VectorOptimizer, torch.optim.AdamW):
    """AdamW: Adam with weight decay apart from the gradient, θ ← (1 - lr · decay) θ."""

    def _begin(self, lr: float, momentum: float, weight_decay: float) -> None:
        betas = (momentum, _BETA2)
        torch.optim.AdamW.__init__(
            self, [self.theta], lr=lr, betas=betas, weight_decay=weight_decay, fused=True
        )


class VectorAdamax(VectorOptimizer, torch.optim.Adamax):
    """Adamax; weight decay is added to the gradient."""

    def _begin(self, lr: float, momentum: float, weight_decay: float) -> None:
        betas = (momentum, _BETA2)
        torch.optim.Adamax.__init__(
            self, [self.theta], lr=lr, betas=betas, weight_decay=weight_decay, foreach=False
        )


_LOST = (
    "expected the parameters where this optimiser put them, but they were moved: build the optimiser after the last "
    "call of `to`, one for a network, and copy values in place"
)
_FROZEN = (
    "expected parameters that want gradients, as when this optimiser was built; one was frozen: build a new one, of "
    "those that still learn"
)


def _check(parameters: list[nn.Parameter]) -> None:
    """`ValueError` where parameters cannot lie in one vector that is learned."""
    kinds = {(p.dtype, p.device) for p in parameters}
    if len(kinds) != 1:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds)) or "none"
        raise ValueError(f"expected parameters of one type on one device, got {found}")
    if not all(p.requires_grad for p in parameters):
        raise ValueError("expected parameters that want gradients: leave out what is frozen")


def _axes_in_memory(tensor: Tensor) -> list[int]:
    """The axes from that with the longest stride to that with the shortest: 0, 2, 3, 1 for channels_last."""
    return sorted(range(tensor.ndim), key=lambda axis: (-tensor.stride()[axis], axis))
