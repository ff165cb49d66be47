"""What a program exits with, and what it says, when its user errs, stops it, or reads no more of its output."""

import os
import re
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

import pytest

from lethe.common.command_line import below_one, exit_status, run
from lethe.common.errors import InputError

ROOT = Path(__file__).parents[2]


def unread(command: str, *options: str) -> tuple[int, str]:
    """Status and standard error of a program of that `command`, a lambda, whose output nobody reads."""
    program = (
        f"import os, sys; from lethe.common.command_line import exit_status; sys.exit(exit_status({command}))"
    )
    started = subprocess.Popen(
        [sys.executable, *options, "-c", program],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.stdout.close()
    with started:
        return started.wait(), started.stderr.read()


@pytest.mark.parametrize("options", [[], ["-u"]])
def test_a_command_that_could_not_say_all_is_not_done(options):
    assert unread("lambda: [print('x' * 10**5), 0][1]", *options) == (1, "")


@pytest.mark.parametrize("status", [0, 3])
def test_a_command_that_is_done_keeps_its_status_whether_or_not_its_last_words_are_read(status):
    assert unread(f"lambda: [print('done'), {status}][1]") == (status, "")


def test_another_pipe_that_breaks_is_no_reader_that_left(capsys):
    def command():
        raise BrokenPipeError("of a worker")

    with pytest.raises(BrokenPipeError, match="of a worker"):
        exit_status(command)


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (1, 1)])
def test_a_command_says_how_it_ended(returned, status):
    assert exit_status(lambda: returned) == status


def test_each_problem_is_a_line_and_the_status_is_2(capsys):
    def command():
        raise InputError("one", "two")

    assert exit_status(command) == 2
    assert capsys.readouterr() == ("", "error: one\nerror: two\n")


def test_who_stops_a_program_is_told_that_it_goes_on(capsys):
    def command():
        raise KeyboardInterrupt

    assert exit_status(command) == 130
    assert exit_status(command, stopped="stopped") == 130
    assert capsys.readouterr().err == "stopped; the same command goes on from here\nstopped\n"


def test_options_that_count_are_at_least_one_where_they_are_given():
    options = Namespace(runs=0, workers=None, threads=1, checkpoint_batches=-2)
    names = "runs", "workers", "threads", "checkpoint_batches", "of_another_command"
    assert below_one(options, *names) == [
        "--runs: expected at least 1, got 0",
        "--checkpoint-batches: expected at least 1, got -2",
    ]


@pytest.mark.parametrize("code", [0, None, 3, "bye"])
def test_a_module_that_ends_the_program_is_told_and_its_command_is_not_done(code, capsys):
    def command():
        raise SystemExit(code)

    assert exit_status(command) == 1
    assert f"ended the program (sys.exit({code!r}))" in capsys.readouterr().err


def test_a_file_that_the_system_refuses_is_told_without_a_traceback(capsys):
    def command():
        Path("x\x1b" * 200).stat()

    assert exit_status(command) == 2
    assert re.fullmatch(r"error: (x\?){200}: File name too long\n", capsys.readouterr().err)


def test_escape_sequences_of_a_mistake_do_not_reach_the_terminal(capsys):
    def command():
        raise InputError("no such file: \x1b[2J\x1b]0;mine\x07")

    assert exit_status(command) == 2
    assert capsys.readouterr().err == "error: no such file: ?[2J?]0;mine?\n"


def test_an_option_without_a_value_is_told(capsys):
    parser = ArgumentParser()
    parser.add_argument("--agent", nargs="+")
    parser.set_defaults(command=lambda options: 0)
    with pytest.raises(SystemExit):
        run(parser, ["--agent=--"])
    assert "--agent=--: expected a value after '='" in capsys.readouterr().err
