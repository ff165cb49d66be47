"""FSA: the network adapts in the first task alone, and linear discriminant analysis learns on its features.

Panos et al. 2023, "First Session Adaptation: A Strong Replay-Free Baseline for Class-Incremental Learning" (ICCV, arXiv
2303.13199). During the first task the whole network trains by cross entropy. At its end it is frozen, its head is
thrown away, and class means and one covariance of the features of all images, the first task's included, are kept as
`slda` does: w_k = Σ̃⁻¹ μ_k and b_k = -1/2 μ_k · Σ̃⁻¹ μ_k.

Differences from the paper:

1. All layers that learn are adapted (the paper's FSA); its variant with FiLM layers, FSA-FiLM, is not here.
2. Σ̃ = (1 - ε) Σ + ε I with a small ε, as in `slda`, so that the two differ in the features alone.
3. Batches and passes of the first task are those of base initialisation of `remind`, and its rate is lower: the paper's
   were not to be had when this was written.
4. The first task's images are passed over once more at its end, for their features in the frozen network.
5. Until then the scores are the network's own.

No code of the authors was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Card, Style
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.features import features
from lethe.agents.parts.sgd import SGDAgent, seen_cross_entropy
from lethe.agents.slda import discriminants, merge

_BATCH = 64  # images of the pass at the end of the first task


@dataclass(frozen=True)
class FSAConfig(SGDConfig):
    """Batches and passes of the first task as in base initialisation of `remind`, the rest as in `slda`."""

    batch_size_first_task: int | None = setting(32, "Images of one mini-batch in the first task.", low=1)
    epochs_first_task: int | None = setting(5, "Passes over the first task.", low=1)
    lr: float = setting(0.003, "Learning rate of the first task.", above=0)
    shrinkage: float = setting(1e-4, "ε, the weight of the identity in the covariance.", above=0, high=1)


class FSA(SGDAgent[FSAConfig]):
    """SGD on the first task; then class means and a shared covariance of the features, in float64."""

    card = Card(
        title="FSA",
        family="streaming",
        keeps="a mean per class, a covariance",
        source="2303.13199",
        formula="8·(K·D + D² + K) + K",
        memory=lambda c, s: 8 * (s.classes * s.features + s.features**2 + s.classes) + s.classes,
        style=Style("black", "h", "dashed", filled=False),
    )
    needs = Needs(task_boundaries=True, task_data=True)

    def __init__(
        self, problem: Problem, config: FSAConfig, network: Network, *, seed: int, device: torch.device
    ):
        super().__init__(problem, config, network, seed=seed, device=device)
        self.adapted = False
        """Whether the first task has ended."""
        size = self._features(torch.zeros(1, *problem.input_shape, device=device)).shape[1]
        self.means = torch.zeros(problem.num_classes, size, dtype=torch.float64, device=device)
        self.counts = torch.zeros(problem.num_classes, dtype=torch.float64, device=device)
        self.scatter = torch.zeros(size, size, dtype=torch.float64, device=device)

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor]:
        """One step of SGD in the first task; after it, the batch's means and scatter are merged with those so far."""
        self.seen[y] = True
        if self.adapted:
            self._merge(x, y)
            return {}
        loss = seen_cross_entropy(self.network.plastic(x), y, self.seen)
        self.step(loss)
        return {"loss": loss.detach()}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """After the first task: freeze the network and take the features of all its images."""
        if not self.adapted:
            self.adapted = True
            for x, y in data.batches(_BATCH):
                self._merge(x, y)

    def prepare(self) -> None:
        """The discriminants, once the network is frozen."""
        if self.adapted:
            config = self.config
            weights, biases = discriminants(self.means, self.counts, self.scatter, config.shrinkage)
            self.cache.update(weights=weights, biases=biases)

    def predict(self, x: Tensor) -> Tensor:
        """w_k · φ(x) + b_k for every class; in the first task, the network's scores."""
        if not self.adapted:
            return super().predict(x)
        scores: Tensor = self._features(x) @ self.cache["weights"] + self.cache["biases"]
        return scores

    def _merge(self, x: Tensor, y: Tensor) -> None:
        merge(self._features(x), y, self.means, self.counts, self.scatter)

    def _features(self, x: Tensor) -> Tensor:
        """The features [B, D] in evaluation mode, float64."""
        training = self.network.training
        self.network.eval()
        with torch.no_grad():
            found = features(self.network.plastic, x).double()
        self.network.train(training)
        return found
