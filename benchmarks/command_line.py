"""Commands on trials: run, report, and the measurements and pretraining that few need.

Heavy imports wait until a command needs them.
"""

import argparse
import importlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from lethe.benchmarks.store_options import add_store_and_codebooks
from lethe.common import processor
from lethe.common.command_line import Commands
from lethe.dataloaders.index import folders
from lethe.dataloaders.order_options import add_order

SPEED_PARTS = {
    "data": ("lethe.benchmarks.speed.data", "preparation of data"),
    "agents": ("lethe.benchmarks.speed.agents", "training steps of agents"),
    "remind": (
        "lethe.benchmarks.speed.remind",
        "a step of REMIND at the size of ImageNet; takes 2.5 GB of memory",
    ),
}
"""Parts that `speed` measures: option -> (module with `measure` and `UNIT`, description)."""


def add_commands(commands: Commands) -> None:
    """Add the commands on trials."""
    _add_run(commands)
    report = commands.add_parser(
        "report",
        help="tables and plots of finished runs",
        description="Tables and plots of finished runs; of two results folders also the differences of the trials "
        "that both have.",
    )
    report.add_argument("results", type=Path, help="folder that trials were written to")
    report.add_argument("other", type=Path, nargs="?", help="another one, to compare with the first")
    report.add_argument("--out", type=Path, required=True, help="folder for the tables and plots")
    report.add_argument(
        "--data",
        type=Path,
        default=folders.DATA,
        help="holds a folder per dataset, a dataset.toml of your own with its title in it (default %(default)s)",
    )
    report.add_argument(
        "--offline-curve",
        type=Path,
        metavar="CSV",
        help="accuracy of an offline learner by number of classes, as the reference of omega_all in place of offline "
        "trials: columns classes and top1, top5 or both",
    )
    report.set_defaults(command=_report)
    predict = commands.add_parser(
        "predict",
        help="what a kept agent takes images for",
        description="Print the likeliest classes of each image, with their scores, by an agent that a run kept "
        "(--keep-model).",
    )
    predict.add_argument("folder", type=Path, metavar="FOLDER", help="of the run, or of its trial")
    predict.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    predict.set_defaults(command=_predict)
    export = commands.add_parser(
        "export",
        help="a run in the files of published experiments",
        description="Write a finished run in the files of a published experiment, for scripts that read those.",
    )
    formats = export.add_subparsers(required=True, metavar="FORMAT")
    remind = formats.add_parser(
        "remind",
        help="REMIND's ImageNet experiment: accuracies (JSON), and probabilities where scores were kept (NumPy)",
        description="Write accuracies_min_trained_0_max_trained_M.json after each task but the first, and "
        "preds_min_trained_0_max_trained_M.npy where scores were kept (--predictions each); M classes are seen.",
    )
    remind.add_argument("trial", type=Path, metavar="TRIAL", help="the folder of a trial")
    remind.add_argument(
        "--run", type=int, default=0, metavar="R", help="number of the run (default %(default)s)"
    )
    remind.add_argument("--out", type=Path, required=True, help="folder for the files")
    remind.set_defaults(command=_export_remind)
    pretrain = commands.add_parser(
        "pretrain",
        help="make the small network's shipped weights anew",
        description="Pretrain the small network on drawn solids; minutes on a CPU.",
    )
    pretrain.add_argument("--out", type=Path, default=None, help="file to write (default: the shipped one)")
    pretrain.set_defaults(command=_pretrain)


def add_speed(commands: Commands, parts: Mapping[str, tuple[str, str]]) -> None:
    """Add the command `speed`, which measures one of `parts` (see `SPEED_PARTS`)."""
    speed = commands.add_parser(
        "speed",
        help="measure how fast this project is, beside plain ways",
        description="Measure one part of the project beside plain code that does the same work.",
    )
    part = speed.add_mutually_exclusive_group(required=True)
    for name, (module, words) in parts.items():
        part.add_argument(f"--{name}", dest="module", action="store_const", const=module, help=words)
    speed.add_argument("--out", type=Path, metavar="JSON", help="write the figures to this file as well")
    speed.set_defaults(command=_speed)


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where results, data and lists lie."""
    parser.add_argument("--out", type=Path, default=Path("results"), help="results folder (default results)")
    parser.add_argument(
        "--data", type=Path, default=folders.DATA, help="holds a folder per dataset (default %(default)s)"
    )
    parser.add_argument(
        "--lists", type=Path, default=folders.LISTS, help="holds dirmaps and task lists (default %(default)s)"
    )


def add_keep_model(parser: argparse.ArgumentParser) -> None:
    """Add the option that keeps trained agents."""
    parser.add_argument(
        "--keep-model", action="store_true", help="keep the trained agent of each run, for `lethe predict`"
    )


def add_max_memory(parser: argparse.ArgumentParser) -> None:
    """Add the option that limits the memory of a run's process."""
    parser.add_argument(
        "--max-memory",
        metavar="SIZE",
        help="memory that the process of a run may keep before it is ended, such as 8GB (default: its part of 90 %% of "
        "the machine's)",
    )


def add_portable(parser: argparse.ArgumentParser) -> None:
    """Add the option that fixes the instruction set."""
    parser.add_argument(
        "--portable",
        action="store_true",
        help="the same numbers on every x86-64 processor with AVX2, to the bit, on the CPU; slower",
    )


def _add_run(commands: Commands) -> None:
    run = commands.add_parser(
        "run",
        help="run trials: agents on datasets under paradigms",
        description="Run trials. Finished runs are skipped, interrupted ones continue from their last checkpoint.",
    )
    run.add_argument("streams", nargs="+", metavar="DATASET/PARADIGM", help="streams to learn")
    run.add_argument("--agent", nargs="+", required=True, metavar="NAME", help="agents, or module:Class")
    run.add_argument("--runs", type=int, default=1, help="runs 0 .. RUNS-1, each a random order (default 1)")
    run.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="[AGENT.]KEY=VALUE",
        help="hyperparameters, of all agents or of one",
    )
    run.add_argument("--variant", choices=("published", "corrected"), help="of the task lists")
    add_order(run)
    run.add_argument(
        "--network",
        help="small, squeezenet, resnet18, mobilenet or lite0, a model of timm as timm:NAME, or module:build of "
        "your own (default: by image size)",
    )
    run.add_argument("--cut", metavar="STAGE", help="freeze what lies before this stage of the network")
    run.add_argument(
        "--feature-dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="how the frozen part's output is stored; bfloat16 takes half the space (default %(default)s)",
    )
    add_store_and_codebooks(run)
    run.add_argument("--no-pretrained", action="store_true", help="start from random weights")
    run.add_argument(
        "--weights",
        metavar="FILE",
        help="start from these weights: the folder of a kept agent, its model.safetensors, or a state dict",
    )
    run.add_argument(
        "--only-task",
        type=int,
        metavar="N",
        help="learn task N alone, from 0; labels are those of the whole stream",
    )
    run.add_argument("--seed", type=int, default=0, help="seed of weights, orders and draws (default 0)")
    run.add_argument(
        "--budget",
        metavar="SIZE",
        help="set each agent's memory so that all that it keeps, network included, stays within SIZE, such as 10MB",
    )
    add_places(run)
    run.add_argument("--device", default="auto", help="cpu, cuda, cuda:1 (default: cuda where there is one)")
    run.add_argument("--workers", type=int, default=1, help="processes that run at a time (default 1)")
    run.add_argument(
        "--threads",
        type=int,
        help="CPU threads of each (default: as in earlier runs of the trials, else a share of the cores; 1 for the "
        "small network)",
    )
    add_max_memory(run)
    add_portable(run)
    run.add_argument("--checkpoint-batches", type=int, metavar="N", help="save every N batches as well")
    run.add_argument(
        "--predictions",
        nargs="?",
        const="last",
        default="none",
        choices=("last", "each"),
        help="keep the scores of the last evaluation, or of each (default: of none; without a value: last)",
    )
    run.add_argument(
        "--until-class",
        type=int,
        metavar="N",
        help="stop each run after the task with which it has met N classes; without this, the same command goes on",
    )
    add_keep_model(run)
    run.add_argument("--dry-run", action="store_true", help="print what would run; build each agent once")
    run.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> int:
    from lethe.benchmarks.workers import forkserver

    if options.portable:
        processor.fix()
    if options.workers > 1 and not options.dry_run:
        forkserver.start()  # both import PyTorch for seconds: at the same time
    from lethe.benchmarks import command

    return command.run(options)


def _report(options: argparse.Namespace) -> int:
    from lethe.benchmarks.report.write import report

    summary = report(options.results, options.out, options.other, options.data, options.offline_curve)
    with suppress(BrokenPipeError):  # the files are written; a reader such as `head` may have left
        print(summary.table, *(f"note: {note}" for note in summary.notes), *summary.files, sep="\n")
    return 0


def _predict(options: argparse.Namespace) -> int:
    from lethe.benchmarks.predict import predict

    return predict(options.folder, options.images)


def _export_remind(options: argparse.Namespace) -> int:
    from lethe.benchmarks.records.remind_files import export
    from lethe.common.errors import InputError

    if options.run < 0:
        raise InputError(f"--run: expected a number from 0, got {options.run}")
    written, missing = export(options.trial, options.run, options.out)
    with suppress(BrokenPipeError):
        print(*written, sep="\n")
        if missing:
            tasks = ", ".join(str(task) for task in missing)
            print(f"note: no predictions after task {tasks}, whose scores were not kept (--predictions each)")
    return 0


def _pretrain(options: argparse.Namespace) -> int:
    from lethe.agents.networks.small import SMALL_WEIGHTS
    from lethe.benchmarks.pretraining.train import pretrain

    path = options.out or SMALL_WEIGHTS
    accuracy = pretrain(path)
    print(f"{path}: names {100 * accuracy:.1f} % of unseen solids of the pretraining classes")
    return 0


def _speed(options: argparse.Namespace) -> int:
    import json

    from lethe.benchmarks.speed import figures as speed
    from lethe.common.files import write_text

    part = importlib.import_module(options.module)
    figures = part.measure()
    if options.out:
        write_text(options.out, json.dumps(speed.as_json(figures, part.UNIT), indent=1) + "\n")
    print(speed.table(figures, part.UNIT))
    return 0
