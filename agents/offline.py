"""Offline learning, the upper bound: all data of all tasks so far, shuffled, several epochs.

The same network goes on from task to task, as in the published protocol.

Differences from the authors' code (agents/default.py and experiment.py of AugMem):

1. The data are shuffled anew in every epoch. The authors keep the order of the lists, which under
   class_instance shows one video after the other: their own "upper bound" on Toybox then averages 46 %
   over tasks, against 93 % under class_iid.
"""

from dataclasses import dataclass

from agents.base import Needs
from agents.finetune import Finetune
from agents.settings import SGDConfig, setting


@dataclass(frozen=True)
class OfflineConfig(SGDConfig):
    """As published, five epochs of larger batches."""

    batch_size: int = setting(100, "Images of one mini-batch.", low=1)
    epochs: int = setting(5, "Passes over the data of all tasks so far, at each task.", low=1)


class Offline(Finetune):
    """SGD on the cumulative data, which the harness hands out because `Needs.offline` asks for it."""

    Config = OfflineConfig
    needs = Needs(offline=True)
