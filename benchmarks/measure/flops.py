"""FLOPs: of an operation, a block of code, and of a run of which only some steps are counted.

A multiplication and an addition are two. Counted are matrix and matrix-vector products, convolutions and attention,
forward and backward, with the formulas of `torch.utils.flop_counter`; linear systems and singular values, products
with vectors and weighted sums of rows, which that leaves out; and what agents tell of work that is not PyTorch's
(`agents.parts.flops`). Element by element work, such as activations, penalties and the optimiser's step, is not.

Counting changes no bit of what is counted, but makes a step of a small network half as long again. So `FlopMeter`
counts a few steps of each task and takes those between from them.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

from lethe.agents.parts import flops as told

_aten = torch.ops.aten


def _matrix_vector(matrix: Tensor, *_: object, **__: object) -> int:
    return 2 * matrix.numel()


def _added_matrix_vector(_: Tensor, matrix: Tensor, *__: object, **___: object) -> int:
    return 2 * matrix.numel()


def _solve(matrix: Tensor, right: Tensor, **_: object) -> int:
    """LU decomposition, 2/3 n³, and two triangular systems for each column, 2 n² together."""
    n = matrix.shape[-1]
    systems = matrix.numel() // max(1, n * n)
    return systems * (2 * n**3 // 3) + 2 * n * right.numel()


def _svd(matrix: Tensor, *_: object, **__: object) -> int:
    """Values and both sets of vectors of [m, n], 4 m² n + 8 m n² + 9 n³ (Golub and Van Loan, section 8.6)."""
    m, n = max(matrix.shape[-2:]), min(matrix.shape[-2:])
    return matrix.numel() // max(1, m * n) * (4 * m * m * n + 8 * m * n * n + 9 * n**3)


def _distances(one: Tensor, other: Tensor, *_: object, **__: object) -> int:
    """A multiplication and an addition for each pair of rows and each dimension."""
    return 2 * one.numel() * other.shape[-2]


def _weighted_rows(table: Tensor, rows: Tensor, *_: object, **__: object) -> int:
    return 2 * rows.numel() * table.shape[-1]


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object) -> int:
    return int(sdpa_flop_count(query.shape, key.shape, value.shape))


def _attention_backward(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: object, **__: object
) -> int:
    return int(sdpa_backward_flop_count(gradient.shape, query.shape, key.shape, value.shape))


FORMULAS: Mapping[Any, Callable[..., int]] = {
    **flop_registry,
    _aten.mv: _matrix_vector,
    _aten.addmv: _added_matrix_vector,
    _aten.dot: _matrix_vector,
    _aten.vdot: _matrix_vector,
    _aten._linalg_solve_ex: _solve,
    _aten._linalg_svd: _svd,
    _aten._cdist_forward: _distances,
    _aten._embedding_bag: _weighted_rows,
    _aten._embedding_bag_forward_only: _weighted_rows,
    _aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    _aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""FLOPs of an operation, from its arguments and, as `out_val`, its result."""
_known: dict[tuple[object, ...], int] = {}
"""FLOPs by operation and arguments, of tensors their shapes."""


class FlopCount(TorchDispatchMode):
    """The FLOPs of a block of code, in `flops`: `with FlopCount() as count: ...`."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # PyTorch's
        self.flops = 0
        self.paused = False

    def __enter__(self) -> Self:
        told.listeners.append(self._add)
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        told.listeners.remove(self._add)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Execute an operation and count it."""
        result = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        if packet in FORMULAS and not self.paused:
            # PyTorch's formulas take longer than many of the operations.
            key = (packet, *(value.shape if isinstance(value, Tensor) else str(value) for value in args))
            if key not in _known:
                _known[key] = FORMULAS[packet](*args, **(kwargs or {}), out_val=result)
            self.flops += _known[key]
        return result

    def _add(self, flops: int) -> None:
        if not self.paused:
            self.flops += flops


def forward_flops(module: nn.Module, x: Tensor) -> int:
    """FLOPs of a forward pass of `module` on `x`."""
    with torch.no_grad(), FlopCount() as count:
        module(x)
    return count.flops


class _Steps:
    """Steps of one task with mini-batches of one size."""

    def __init__(self, number: int = 0, counted: int = 0, flops: int = 0):
        self.number = number
        """Steps so far."""
        self.counted = counted
        """Number of the last step that was counted."""
        self.flops = flops
        """FLOPs of that step."""

    def due(self) -> bool:
        """Whether the present step is to be counted: the first, second, fourth, and then each power of four."""
        power_of_four = self.number & (self.number - 1) == 0 and self.number.bit_length() % 2 == 1
        return power_of_four or self.number == 2


class FlopMeter:
    """FLOPs of learning a run.

    In each task, and for each size of its mini-batches, the first, second, fourth, sixteenth, ... step is counted;
    steps between two of these count as the mean of both, steps after the last as that one. All else is counted in full.
    """

    def __init__(self) -> None:
        self._total = 0.0
        self._steps: dict[int, _Steps] = {}
        self._counting: FlopCount | None = None

    def step(self, images: int) -> AbstractContextManager[object]:
        """Context of one step on a mini-batch of `images`."""
        steps = self._steps.setdefault(images, _Steps())
        steps.number += 1
        return self._counted(steps) if steps.due() else nullcontext()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Context of work that is counted in full, after the last step of a task or before the first one."""
        with self._count() as count:
            yield
        self._total = self.total + count.flops
        self._steps = {}

    @contextmanager
    def uncounted(self) -> Iterator[None]:
        """Context of work that is not counted, within a step or `whole`, or between them."""
        count = self._counting
        if count is None:
            yield
            return
        count.paused = True
        try:
            yield
        finally:
            count.paused = False

    @property
    def total(self) -> float:
        """FLOPs of all that was learned so far."""
        pending = sum((steps.number - steps.counted) * steps.flops for steps in self._steps.values())
        return self._total + pending

    def state(self) -> dict[str, object]:
        """All that a resumed run needs, as plain values."""
        steps = {size: [one.number, one.counted, one.flops] for size, one in self._steps.items()}
        return {"total": self._total, "steps": steps}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from `state()`."""
        self._total = state["total"]
        self._steps = {size: _Steps(*values) for size, values in state["steps"].items()}

    @contextmanager
    def _count(self) -> Iterator[FlopCount]:
        with FlopCount() as self._counting:
            try:
                yield self._counting
            finally:
                self._counting = None

    @contextmanager
    def _counted(self, steps: _Steps) -> Iterator[None]:
        with self._count() as count:
            yield
        between = steps.number - steps.counted - 1
        self._total += between * (steps.flops + count.flops) / 2 + count.flops
        steps.counted, steps.flops = steps.number, count.flops
