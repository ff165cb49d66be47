"""Agents that end badly, for tests of what runs them. Some talk to the test through files in a folder."""

import os
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from lethe.agents.config import SGDConfig, setting
from lethe.agents.finetune import Finetune


@dataclass(frozen=True)
class TroubledConfig(SGDConfig):
    """When the trouble begins."""

    lr: float = setting(0.01, "Learning rate.", above=0)
    batch: int = setting(20, "The mini-batch before which it happens, from 0.", low=0)
    folder: str = setting(".", "Where to talk to the test.")


class _Troubled(Finetune):
    Config = TroubledConfig

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.batches = 0

    def observe(self, x, y):
        if self.batches == self.config.batch:
            self.trouble()
        self.batches += 1
        return super().observe(x, y)


class Crashes(_Troubled):
    """Raises what no one expects."""

    def trouble(self):
        print("the last words of Crashes", flush=True)
        raise ZeroDivisionError("one thing too many")


class Dies(_Troubled):
    """Is killed, every time."""

    def trouble(self):
        print("the last words of Dies", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


class DiesUnnamed(_Troubled):
    """Is killed by a signal that has no name."""

    def trouble(self):
        os.kill(os.getpid(), signal.SIGRTMIN + 6)


class Leaves(_Troubled):
    """Ends its program as if all were well."""

    def trouble(self):
        sys.exit(0)


class DiesOnce(_Troubled):
    """Is killed once."""

    def trouble(self):
        mark = Path(self.config.folder) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Hoards(_Troubled):
    """Keeps more and more memory."""

    def trouble(self):
        kept = []
        while True:
            kept.append(torch.ones(1 << 21))


class RemovesItsRecord(_Troubled):
    """Removes the results of its run, as a user might."""

    def trouble(self):
        shutil.rmtree(self.config.folder)


class FillsTheDisk(_Troubled):
    """Writes where there is no space."""

    def trouble(self):
        with Path("/dev/full").open("w") as file:
            file.write("one byte too many")


class Waits(_Troubled):
    """Goes on only when it may."""

    def trouble(self):
        folder = Path(self.config.folder)
        (folder / "waiting").touch()
        while not (folder / "go").exists():
            time.sleep(0.02)
