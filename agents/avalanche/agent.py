"""Any strategy of avalanche-lib 0.6.0 as an agent: `avalanche:Naive`, `avalanche:Replay`, `avalanche:EWC`, ...

Avalanche (Carta et al. 2023, JMLR 24) trains by whole experiences, so an agent here lets a task go by in
`observe` and reads it again in `end_task`, where the task becomes one experience. That keeps the strategy's own
semantics: what it does at the boundaries of experiences happens at those of tasks. Feeding it mini-batches as
experiences would instead consolidate after every one. The data come by `Needs.task_data`, so none are kept twice.
`DEFAULTS` and `UNFIT` in avalanche_strategies.py say what is set where Avalanche has no default, and what does not fit.

1. A task is read in the stream's order, mini-batch by mini-batch, as often as `epochs` says; replayed memory
   is drawn at random, as the strategies have it. Avalanche shuffles both; `shuffle` restores that, and is the
   default of ICaRL and Cumulative, which mix memory into the task by shuffling alone.
2. CoPE is made for experiences of one mini-batch and stops after the first of a longer one: it gets them.
3. CoPE, iCaRL, SCR, ER_AML and StreamingLDA work on what the network's head sees, averaged over positions; what
   follows is a new layer of theirs: linear, for SCR a projection with one hidden layer (Mai et al. 2021).
4. Labels that the stream has not shown yet take part in the loss, as Avalanche has it.
5. Known defect of 0.6.0: on the CPU its SynapticIntelligence does nothing for weights that are contiguous, as those of
   linear layers are. It keeps `p.detach().cpu().flatten()` of a parameter, a view there, so old and new values are
   always the same. `si` is this project's own.
6. Known defects of 0.6.0: while GSS_greedy's memory is not full, its empty places are replayed as black images of
   label 0; and it scores images with gradients that it leaves behind, so that the last scored image's gradient is added
   to that of every step.
7. Known defect of 0.6.0: the distillation of BiC, which does not fit for another reason (`UNFIT`), normalises the old
   scores over the batch, not over labels.
8. AGEM and GSS_greedy flatten gradients by `view`, which those of channels_last weights do not allow: for these two the
   weights are contiguous.
9. SCR's second view is augmented as that of `scr` is; Avalanche's own default leaves both views the same image. The
   first view is the image as it is, as in the authors' code.
10. `WRONG` in strategies.py names strategies that are not those of their papers; a run with one begins with a note.
11. A strategy's state cannot be saved as tensors (Avalanche's own checkpoint does not survive this stack), so
   an interrupted run begins anew: `resumable` is False.
"""

import contextlib
import dataclasses
import functools
import inspect
import io
import random
import warnings
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar, NoReturn

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks.utils import _make_taskaware_tensor_classification_dataset
from avalanche.models import SCRModel
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates.base import BaseTemplate
from torch import Tensor, nn

from lethe.agents.avalanche.parts import Experience, Features, NeverZero, Shuffled, kept_bytes, size_bytes
from lethe.agents.avalanche.strategies import (
    AUGMENTATION,
    StrategyConfig,
    config_class,
    field_name,
    find,
    tunable,
)
from lethe.agents.base import Agent, Needs, Network, Problem, TaskData, TaskInfo
from lethe.agents.networks.batch_norm import check_first_batch
from lethe.agents.parts.augment import check_images
from lethe.agents.parts.augment_colour import contrastive_view
from lethe.agents.parts.sgd import check_plain_sgd
from lethe.common.errors import InputError

_PER_BATCH = {"CoPE"}
_FLATTENING = {"AGEM", "GSS_greedy"}
"""Strategies whose gradients must be contiguous."""
_DISJOINT = {"ICaRL"}
"""Strategies that assume that a class comes in one experience alone."""
_EVALUATION_BATCH = 64


class AvalancheAgent(Agent[StrategyConfig]):
    """A strategy of Avalanche behind the contract; subclasses are made by `agent_class`."""

    needs = Needs(task_boundaries=True, task_data=True)
    resumable = False
    strategy_class: ClassVar[type[BaseTemplate]]

    def __init__(
        self, problem: Problem, config: StrategyConfig, network: Network, *, seed: int, device: torch.device
    ):
        check_plain_sgd(config, "strategies of Avalanche are given PyTorch's SGD")
        if self.name == "SCR":
            check_images(network, problem.input_shape)
        super().__init__(problem, config, network, seed=seed, device=device)
        check_first_batch(network.plastic, problem.input_shape, config.batch_size_of(0), device)
        self.tasks = self.experiences = 0
        self.classes: list[int] = []
        self.classes_per_task: list[int] = []
        with self._own_randomness():
            self.strategy = self._build()

    def observe(self, x: Tensor, y: Tensor) -> Mapping[str, Tensor | float]:
        """Nothing is learned before the task ends; logs the batch's length."""
        return {"images": float(len(y))}

    def end_task(self, task: TaskInfo, data: TaskData) -> None:
        """Train the strategy on the task, one experience; one each mini-batch for strategies made for that."""
        size = self.config.batch_size_of(task.index)
        self.strategy.train_mb_size = size
        self.strategy.train_epochs = self.config.epochs_of(task.index)
        batches = [(x.cpu(), y.cpu()) for x, y in data.batches(size)]
        if self.name not in _PER_BATCH:
            inputs, labels = zip(*batches, strict=True)
            batches = [(torch.cat(inputs), torch.cat(labels))]
        self._note_classes(torch.cat([y for _, y in batches]))
        with self._own_randomness():
            for x, y in batches:
                self.strategy.train(
                    self._experience(x, y),
                    eval_streams=[],
                    num_workers=0,
                    shuffle=self.config.shuffle,
                    pin_memory=False,
                )
                self.experiences += 1
        self.strategy.model.eval()
        self.tasks += 1
        if not all(torch.isfinite(p).all() for p in self.strategy.model.parameters()):
            raise InputError(
                f"avalanche:{self.name}: weights became infinite in task {task.index}: try a smaller learning rate"
            )

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """The scores that the strategy judges by; before the first task, those of the network."""
        outputs: Tensor = (self.strategy.model if self.tasks else self.network.plastic)(x)
        if not self.tasks:
            return outputs
        if self.name == "StreamingLDA":
            scores: Tensor = self.strategy.predict(outputs)
            return scores
        if self.name == "CoPE":
            prototypes = self.strategy.plugins[0].p_mem
            classes = torch.cat([prototypes[label] for label in range(self.problem.num_classes)])
            return outputs @ classes.T
        # A nearest-mean classifier knows labels up to the highest that it has met.
        return F.pad(outputs, (0, self.problem.num_classes - outputs.shape[1]), value=-torch.inf)

    def memory_bytes(self) -> int:
        """Bytes of what the strategy and its plugins keep.

        Counted are tensors and modules among their attributes, and the items of replay buffers, each at its
        size; of the model, what goes beyond the network. Avalanche keeps buffers as views of whole tasks, so the
        process holds more.
        """
        model, network = (size_bytes(m) for m in (self.strategy.model, self.network.plastic))
        return kept_bytes(self.strategy) + max(0, model - network)

    def state_dict(self) -> NoReturn:
        """Not possible."""
        raise NotImplementedError(
            f"avalanche:{self.name} cannot be saved: Avalanche's strategies have no state of plain tensors"
        )

    def load_state_dict(self, state: Mapping[str, object]) -> NoReturn:
        """Not possible."""
        self.state_dict()

    @property
    def name(self) -> str:
        """The strategy's."""
        return self.strategy_class.__name__

    def _note_classes(self, y: Tensor) -> None:
        """Add the labels of a task; `InputError` if they come again and the strategy cannot take that."""
        labels = y.unique().tolist()
        new = [label for label in labels if label not in self.classes]
        if self.name in _DISJOINT and len(new) < len(labels):
            raise InputError(
                f"avalanche:{self.name} assumes that each class comes in one task alone, and task {self.tasks} "
                "has classes of an earlier one: use class_iid or class_instance"
            )
        self.classes += new
        self.classes_per_task.append(len(new))

    def _experience(self, x: Tensor, y: Tensor) -> Experience:
        """Inputs and labels with all that strategies ask of an experience."""
        left = self.problem.num_classes - len(self.classes)
        return Experience(
            dataset=_make_taskaware_tensor_classification_dataset(x, y, task_labels=0, targets=y.tolist()),
            current_experience=self.experiences,
            task_labels=[0],
            classes_in_this_experience=y.unique().tolist(),
            benchmark=SimpleNamespace(
                n_classes_per_exp=[*self.classes_per_task, left], classes_order=self.classes
            ),
        )

    @contextlib.contextmanager
    def _own_randomness(self) -> Iterator[None]:
        """Global generators, which Avalanche draws from, are the agent's own within, and as before afterwards."""
        seed = int(torch.randint(2**32, (), generator=self.generator))
        before = random.getstate(), np.random.get_state()
        cuda = [self.device.index or 0] if self.device.type == "cuda" else []
        with (
            torch.random.fork_rng(cuda),
            warnings.catch_warnings(
                record=True
            ),  # Avalanche resets the filters to tell of its own deprecations
            contextlib.redirect_stdout(io.StringIO()),
        ):
            torch.default_generator.manual_seed(seed)
            for index in cuda:
                torch.cuda.default_generators[index].manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            try:
                yield
            finally:
                random.setstate(before[0])
                np.random.set_state(before[1])

    def _build(self) -> BaseTemplate:
        """The strategy with the configuration's values."""
        parameters = inspect.signature(self.strategy_class.__init__).parameters
        chosen = {n: getattr(self.config, field_name(n)) for n in tunable(self.strategy_class)}
        given = self._modules(parameters, chosen)
        if "optimizer" in parameters:
            modules = nn.ModuleList(value for value in given.values() if isinstance(value, nn.Module))
            given["optimizer"] = torch.optim.SGD(
                modules.parameters(),  # each once, where modules share some
                lr=self.config.lr,
                momentum=self.config.momentum,
                weight_decay=self.config.weight_decay,
            )
        classes = self.problem.num_classes
        fixed: dict[str, Any] = {"criterion": NeverZero(), "buffer_transform": None}
        fixed |= {"num_classes": classes, "n_classes": classes}
        if self.name == "SCR":
            given["augmentations"] = functools.partial(
                contrastive_view,
                generator=self.generator,
                **{name: getattr(self.config, name) for name in AUGMENTATION},
            )
        given |= {name: value for name, value in fixed.items() if name in parameters}
        try:
            strategy = self.strategy_class(
                **given,
                **chosen,
                train_mb_size=self.config.batch_size,
                eval_mb_size=_EVALUATION_BATCH,
                device=self.device,
                evaluator=EvaluationPlugin(),
            )
        except (AssertionError, TypeError, ValueError) as error:
            raise InputError(f"avalanche:{self.name} refuses its settings: {error}") from error
        for plugin in strategy.plugins:
            if hasattr(plugin, "storage_policy"):
                plugin.storage_policy = Shuffled(plugin.storage_policy)
        return strategy

    def _modules(self, parameters: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The modules that the strategy is made of, by parameter, and the size of what they work on."""
        whole = self.network.plastic
        if self.name in _FLATTENING:
            whole.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # missing in torch's stubs
        if self.name == "GSS_greedy":
            return {"model": whole, "input_size": list(self.problem.input_shape)}
        if not {"feature_extractor", "slda_model"} & parameters.keys() and self.name not in ("CoPE", "SCR"):
            return {"model": whole}
        if not isinstance(whole, nn.Sequential):
            raise InputError(
                f"avalanche:{self.name}: expected an nn.Sequential whose last child is the head as network, got a "
                f"{type(whole).__name__}"
            )
        extractor = Features(whole)
        with torch.no_grad():
            whole.eval()
            size = extractor(torch.zeros(1, *self.problem.input_shape, device=self.device)).shape[1]
            whole.train()
        if self.name == "StreamingLDA":
            return {"slda_model": extractor, "input_size": size}
        if self.name == "CoPE":
            embedding = nn.Linear(size, chosen["p_size"])
            return {"model": nn.Sequential(extractor, embedding).to(self.device)}
        if self.name == "SCR":
            projection = nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, 128))
            return {"model": SCRModel(extractor, projection).to(self.device)}
        if self.name == "ICaRL":
            classifier = nn.Linear(size, self.problem.num_classes).to(self.device)
            return {"feature_extractor": extractor, "classifier": classifier}
        return {"model": whole, "feature_extractor": extractor}


@functools.cache
def agent_class(name: str) -> type[AvalancheAgent]:
    """The agent class of the strategy `name`; `InputError` for one that there is not, or that does not fit."""
    strategy = find(name)
    frozen = name == "StreamingLDA"
    return type(
        name,
        (AvalancheAgent,),
        {
            "__doc__": f"Avalanche's {name}.",
            "__module__": __name__,
            "Config": config_class(strategy),
            "needs": dataclasses.replace(AvalancheAgent.needs, frozen_trunk=frozen),
            "cut": "head" if frozen else None,
            "strategy_class": strategy,
        },
    )
