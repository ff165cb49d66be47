"""What REMIND and SIESTA share: base initialisation on the first task, a quantiser fitted to it, and a memory of codes.

During the first task the plastic layers train on its maps as any network does. At its end the codebooks of a product
quantiser are fitted to the maps (`parts/product_quantiser.py`), unless inputs are codes, and all its images are stored
as codes. From then on an agent streams: it learns from codes alone, and predicts from maps that are rebuilt from them.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import TypeVar

from lethe.agents.base import Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.card import Setting
from lethe.agents.config import SGDConfig, setting
from lethe.agents.networks.quantised import decoder
from lethe.agents.parts import product_quantiser
from lethe.agents.parts.quantised_memory import CodeMemory
from lethe.agents.parts.sgd import SGDAgent, check_plain_sgd, seen_cross_entropy
from lethe.common.errors import InputError

BATCH = 64
"""Maps that are in memory at once, where many are passed over."""


@dataclass(frozen=True)
class CodedConfig(SGDConfig):
    """Base initialisation, and how much is stored of what it learned."""

    batch_size_first_task: int | None = setting(32, "Images of one mini-batch in base initialisation.", low=1)
    epochs_first_task: int | None = setting(
        5, "Passes of base initialisation; 0: the network learned the first task before (`--weights`).", low=0
    )
    lr: float = setting(0.01, "Learning rate of base initialisation.", above=0)
    weight_decay: float = setting(1e-5, "L2 penalty of SGD, applied to all trained parameters.", low=0)
    memory_size: int = setting(959_665, "Maps kept; 1.5 GB at 7 x 7 x 32 bytes.", low=1)
    codebooks: int = setting(32, "M, codebooks of 256 centroids; must divide the channels.", low=1)


Q = TypeVar("Q", bound=CodedConfig, default=CodedConfig, covariant=True)
"""The type of an agent's configuration."""


def coded_bytes(c: CodedConfig, s: Setting) -> int:
    """Bytes of stored codes with their labels and of the codebooks, of a stream whose maps all come by."""
    channels, height, width = s.shape
    stored = min(c.memory_size, s.images)
    return stored * (height * width * c.codebooks + 8) + 4 * product_quantiser.CENTROIDS * channels


class CodedAgent(SGDAgent[Q]):
    """Base initialisation by plain SGD; then `stream`. A subclass says why no other optimiser fits, as `sets_rates`."""

    needs = Needs(task_boundaries=True, task_data=True, frozen_trunk=True)
    cut = "last_block"
    sets_rates = ""

    def __init__(self, problem: Problem, config: Q, network: Network, *, seed: int, device: torch.device):
        check_plain_sgd(config, self.sets_rates)
        given = decoder(network)
        if given is None:
            product_quantiser.check_codebooks(problem.input_shape[0], config.codebooks)
        elif given.codebooks != config.codebooks:
            raise InputError(
                f"codebooks: expected {given.codebooks}, those of the codes that are learned from, got "
                f"{config.codebooks}"
            )
        super().__init__(problem, config, network, seed=seed, device=device)
        self.centroids: Tensor | None = None
        """Codebooks [M, 256, C / M], from the end of the first task on."""
        self.memory = CodeMemory(config.memory_size, problem.num_classes, self.generator, device)

    @abstractmethod
    def stream(self, x: Tensor, y: Tensor, centroids: Tensor) -> Mapping[str, Tensor | float]:
        """`observe` after base initialisation."""

    def loss(self, scores: Tensor, y: Tensor) -> Tensor:
        """Mean cross entropy of scores [B, K] and labels [B], over the labels that have come by."""
        return seen_cross_entropy(scores, y, self.seen)

    def scores(self, x: Tensor) -> Tensor:
        """Scores [B, K] of maps or codes."""
        found: Tensor = self.network.plastic(x)
        return found

    def begin_task(self, task: TaskInfo) -> None:
        """`InputError` where the maps of the first task are too few for the codebooks, before they are learned."""
        if self.centroids is None and task.images is not None and decoder(self.network) is None:
            _, height, width = self.problem.input_shape
            product_quantiser.check_vectors(
                task.images * height * width, f"{task.images} maps of {height} x {width} in the first task"
            )

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor | float]:
        """Plain SGD on the batch in base initialisation; after it, `stream`."""
        self.seen[y] = True
        if self.centroids is not None:
            return self.stream(x, y, self.centroids)
        loss = self.loss(self.scores(x), y)
        self.step(loss)
        return {"loss": loss.detach()}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """After the first task: fit the codebooks to its maps, unless inputs are codes; store the maps."""
        if self.centroids is not None:
            return
        given = decoder(self.network)
        if given is not None:
            self.centroids = given.centroids
        else:
            _, height, width = self.problem.input_shape
            maps = (x for x, _ in data.batches(BATCH))
            chosen = product_quantiser.chosen(len(data) * height * width, self.generator)
            self.centroids = product_quantiser.fit(
                product_quantiser.taken(maps, chosen), self.config.codebooks
            )
        for x, y in data.batches(BATCH):
            self.seen[y] = True  # nothing was observed where base initialisation was another run's
            self.store(self.codes(x, self.centroids), y)
        self.optimizer.state.clear()  # streaming begins without the momentum of base initialisation

    def store(self, codes: Tensor, y: Tensor) -> None:
        """Keep codes [B, H, W, M] with labels [B] of the first task."""
        self.memory.add(codes, y)

    def predict(self, x: Tensor) -> Tensor:
        """Scores of the map as the memory would give it back, once there are codebooks."""
        if self.centroids is not None and decoder(self.network) is None:
            x = product_quantiser.decode(product_quantiser.encode(x, self.centroids), self.centroids)
        return self.scores(x)

    def codes(self, x: Tensor, centroids: Tensor) -> Tensor:
        """Codes [B, H, W, M] of inputs, which may be codes [B, M, H, W]."""
        coded = decoder(self.network) is not None
        return x.permute(0, 2, 3, 1) if coded else product_quantiser.encode(x, centroids)
