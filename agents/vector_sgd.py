"""Stochastic gradient descent on all parameters of a module as one vector θ.

A step is then one pass over memory instead of one for each parameter, and whoever weighs, compares or projects
gradients writes what the papers write: `importance * (theta - anchor)`.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


class VectorSGD(torch.optim.SGD):
    """SGD as PyTorch has it, for parameters that it moves into one vector, and their gradients into another.

    The module goes on as ever: its parameters keep their shapes and layouts, and share memory with the vectors.
    `zero_grad`, `backward` and `step` do what they do elsewhere, but that a parameter without a gradient counts
    as one whose gradient is zero.
    """

    def __init__(self, module: nn.Module, *, lr: float, momentum: float, weight_decay: float):
        self.parameters = list(module.parameters())
        """The module's, in its order."""
        self._axes = [_axes_in_memory(p) for p in self.parameters]
        self.theta = self.gather(self.parameters)
        """θ [P], all parameters one after the other, each in the order in which it lies in memory."""
        self.gradient = torch.zeros_like(self.theta)
        """The gradient [P] of what `backward` was called on since `zero_grad`; see `collect`."""
        for p, view in zip(self.parameters, self.views(self.theta), strict=True):
            p.data = view
        self._places = [p.data_ptr() for p in self.parameters]
        self._gradients = self.views(self.gradient)
        super().__init__([self.theta], lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True)
        self.zero_grad()

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

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients: those of the module become zero, those of further groups None."""
        for (
            group
        ) in self.param_groups:  # not by PyTorch's method, which takes a fiftieth of a small network's step
            for p in group["params"]:
                p.grad = None
        self.gradient.zero_()
        for p, view in zip(self.parameters, self._gradients, strict=True):
            p.grad = view

    def collect(self) -> Tensor:
        """`gradient`, after `backward`: with what was not accumulated in it, as after the module's own `zero_grad`."""
        for p, view, place in zip(self.parameters, self._gradients, self._places, strict=True):
            if p.data_ptr() != place:
                raise RuntimeError(
                    "expected the parameters where this optimiser put them, but they were moved or replaced: "
                    "build the optimiser after the last call of `to`, and copy values in place"
                )
            if p.grad is not view:
                view.copy_(torch.zeros_like(p) if p.grad is None else p.grad)
                p.grad = view
        return self.gradient

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
        super().step()


def _axes_in_memory(tensor: Tensor) -> list[int]:
    """The axes from that with the longest stride to that with the shortest: 0, 2, 3, 1 for channels_last."""
    return sorted(range(tensor.ndim), key=lambda axis: (-tensor.stride(axis), axis))
