"""AugMem as the authors' code behaves, so that published numbers can be explained; see `augmem` for the method.

Zhang et al. 2021 (arXiv 2104.02206). Each difference from the paper is one override or default here:

1. M̂ is renewed after every step and the regulariser is taken before the next, so it is always zero.
2. The arguments of the distillation losses are swapped: direct scores learn from mem, and in replay the stored scores
   would learn from the replayed, so that this loss is logged and teaches nothing.
3. Rows of earlier classes stay as many as they were: with 200 images for CORe50, 456 after five tasks. (With herding
   the code does cut them.)
4. The learning rate becomes 0.001 at the end of the second task, whatever it was.
5. Herding divides all candidates by the Frobenius norm of their matrix.

Slots are drawn from N(0, 1) and chosen by inner product, as in paper and code; `augmem` fits them (its difference 1).

Differences from the authors' code: 6 and 7 of `augmem`, and ties between slots go to the lowest.
"""

from dataclasses import dataclass

from torch import Tensor

from lethe.agents.augmem import SLOTS, AugMem, AugMemConfig, slot_bytes
from lethe.agents.card import Card, Setting
from lethe.agents.config import setting


@dataclass(frozen=True)
class AugMemPublishedConfig(AugMemConfig):
    """As published for CORe50 class_iid."""

    lr: float = setting(1e-3, "Learning rate.", above=0)
    slots_from: str = setting(
        "normal",
        "First slots and reads: fitted to the first mini-batch and read by distance, "
        "or drawn from N(0, 1) and read by inner product, as published.",
        choices=("features", "normal"),
    )
    lr_after_first: float | None = setting(
        0.001, "Learning rate set at the end of every task but the first; none: it stays.", above=0
    )
    replay_weight: float = setting(5.0, "c_replay, weight of the replay loss.", low=0)
    regulariser_weight: float = setting(
        1000.0, "c_reg, weight of the drift of used slots, which is always zero.", low=0
    )

    def notes(self) -> tuple[str, ...]:
        """None: no weight of the regulariser matters here."""
        return ()


def _memory(c: AugMemPublishedConfig, s: Setting) -> int:
    met = [sum(s.tasks[: task + 1]) for task in range(len(s.tasks))]
    stored = sum(new * (c.memory_size // seen) for new, seen in zip(s.tasks, met, strict=True))
    return slot_bytes(c, s, stored)


class AugMemPublished(AugMem[AugMemPublishedConfig]):
    """AugMem without a working regulariser, replay distillation and budget."""

    card = Card(
        title="AugMem (as published)",
        family="augmented memory",
        keeps="slots and their anchor, indices of slots, scores",
        source="2104.02206",
        formula=f"{SLOTS}, n the sum over tasks of new classes · ⌊`memory_size` / classes so far⌋",
        memory=_memory,
    )
    herds_by_whole_norm = True

    def step(self, loss: Tensor) -> None:
        """As ever; then the slots are held to where they are."""
        super().step(loss)
        self.anchor = self.memory.slots.detach().clone()

    def distil(self, student: Tensor, teacher: Tensor) -> Tensor:
        """As ever, the other way round."""
        return super().distil(teacher, student)

    def kept(self, share: int) -> slice:
        """All rows of every class, unless herding chose them."""
        return super().kept(share) if self.config.herding else slice(None)
