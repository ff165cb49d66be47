"""The part of a run that is executed on a node of a Ray cluster, and the transfer of its files back.

A node that cannot write to the results folder writes to a folder of its own, and sends the run's files.
"""

import json
import os
import queue
import re
import shutil
import socket
import tempfile
import threading
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lethe.benchmarks.records import failures
from lethe.benchmarks.records.environment import note as note_environment
from lethe.benchmarks.records.failures import Failure
from lethe.benchmarks.run.experiment import Machine, Places
from lethe.benchmarks.run.job import Job
from lethe.benchmarks.workers.messages import Failed, Finished, Message, Outcome
from lethe.benchmarks.workers.worker import Teller, logged_attempt
from lethe.common.errors import InputError
from lethe.common.files import atomic_write, read_json, write_text
from lethe.dataloaders.index import folders

_NAME = re.compile(r"[\w-][\w.-]*")  # neither a path nor a hidden file


@dataclass(frozen=True)
class Sent:
    """A run executed on a node that cannot write to the results folder."""

    outcome: Outcome
    environment: Mapping[str, object] | None
    """Content of the trial's env.json on the node."""
    files: dict[str, bytes]
    """Content of the files of the run's folder, by name."""


class Actor:
    """A Ray actor: executes one job at a time in a thread; `news` returns the thread's next message."""

    def __init__(self, places: Places, token: Path, machine: Machine):
        self._sees_results = os.access(token, os.W_OK)
        if not self._sees_results:
            self._own = tempfile.TemporaryDirectory(dir=".")  # in Ray's copy of the code, which Ray removes
            lists = places.lists if places.lists.exists() else folders.LISTS.absolute()
            places = Places(Path(self._own.name), places.data, lists)
        self._places = places
        self._machine = machine
        self._news: queue.SimpleQueue[Message | Sent] = queue.SimpleQueue()

    def sees_results(self) -> bool:
        """Whether runs are recorded directly in the results folder."""
        return self._sees_results

    def learn(self, job: Job, environment: Mapping[str, object] | None) -> Message | Sent:
        """Start `job` and return its first message; `environment` is that of earlier runs of its trial."""
        threading.Thread(target=self._learn, args=(job, environment), daemon=True).start()
        return self.news()

    def news(self) -> Message | Sent:
        """Wait for the next message of the job."""
        return self._news.get()

    def _learn(self, job: Job, environment: Mapping[str, object] | None) -> None:
        try:
            if not self._sees_results and environment is not None:
                write_text(job.trial.folder(self._places.results) / "env.json", json.dumps(environment))
            message: Message | Sent = logged_attempt(job, self._places, self._machine, Teller(self._news.put))
            if not self._sees_results and isinstance(message, Finished | Failed):
                message = self._pack(message)
            self._news.put(message)
        # Outside the run itself: the node lacks the agent's module, its disk is full, ...
        except Exception as error:
            reason = f"on {socket.gethostname()}: {error}"
            self._news.put(Failed(job, Failure(reason, tuple(traceback.format_exc().splitlines()))))

    def _pack(self, outcome: Outcome) -> Sent:
        """Read the files of a finished or failed run, and remove its folder."""
        folder = outcome.job.folder(self._places.results)
        files = {path.name: path.read_bytes() for path in folder.iterdir()
                 if path.is_file() and not path.name.startswith(".")}  # fmt: skip
        shutil.rmtree(folder)
        environment = folder.parent / "env.json"
        return Sent(outcome, read_json(environment) if environment.exists() else None, files)


def keep(sent: Sent, places: Places) -> Outcome:
    """Write the files of a run into the results folder, the summary last."""
    outcome = sent.outcome
    folder = outcome.job.folder(places.results)
    bad = [name for name in sent.files if not _NAME.fullmatch(name)]
    if bad:
        raise InputError(
            f"{folder}: a node sent files that are not those of a run: {', '.join(map(repr, bad))}"
        )
    if sent.environment is not None:
        try:
            note_environment(folder.parent, sent.environment)
        except InputError as error:
            return Failed(outcome.job, failures.failure(folder, str(error)), outcome.seconds)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)  # of an earlier attempt elsewhere
    (folder / failures.LOG).unlink(missing_ok=True)
    for name in sorted(sent.files, key=lambda name: name == "summary.json"):
        with atomic_write(folder / name) as temporary:
            temporary.write_bytes(sent.files[name])
    return outcome
