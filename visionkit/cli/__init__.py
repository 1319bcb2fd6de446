"""`visionkit VERB ...`: one function for each verb, in the other files of this package.

Heavy imports are inside the verbs, so that --help answers at once.
"""

import io
import logging
import os
import select
import signal
import sys

import cyclopts

from visionkit import __version__, limits
from visionkit.cli.bench import bench
from visionkit.cli.calibrate import calibrate
from visionkit.cli.certify import certify
from visionkit.cli.compare import compare
from visionkit.cli.data import convert, doctor
from visionkit.cli.experiments import folds, lr_find, search, seeds
from visionkit.cli.exports import export
from visionkit.cli.guarantee import guarantee
from visionkit.cli.launch import launch
from visionkit.cli.models import classify, detect, segment, serve
from visionkit.cli.next_photos import next_photos
from visionkit.cli.reports import report
from visionkit.cli.runs import finetune, train
from visionkit.cli.scores import evaluate
from visionkit.cli.selftest import selftest
from visionkit.cli.style import stylize
from visionkit.cli.suspects import suspects
from visionkit.cli.weights import convert_weights, weights
from visionkit.files import check_local
from visionkit.types import DataError, plain

INTO_STORES = ("detect", "classify", "segment", "stylize")  # their --out may be in a store
WRITTEN = ("--out", "--fix", "--json", "--curves", "--picture")  # options that name what a verb writes

app = cyclopts.App(
    name="visionkit",
    help="Fine-tune, evaluate, run and export computer vision models. With --debug, errors show their traceback; "
    "with --offline, the network is never touched; with --limits 4, files may be four times as large as is safe with "
    "those of strangers.",
    version=__version__,
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says what was interrupted
)
for _verb in (doctor, convert, finetune, evaluate, report, detect, classify, segment, stylize, export, serve, bench):
    app.command(_verb)
for _verbs in (compare, calibrate, guarantee, suspects, weights, selftest, certify, launch):
    app.command(_verbs)
for _verb in (train, folds, search, seeds):
    app.command(_verb, help_flags=[])  # the recipe has a help of its own
app.command(next_photos, name="next")
app.command(lr_find, name="lr_find", help_flags=[])
app.command(convert_weights, name="convert_weights")


@app.command
def env() -> None:
    """Versions, devices, and why no GPU is seen."""
    from visionkit.environment import describe, import_keras_quietly

    try:
        import_keras_quietly()
    finally:
        print(describe())


def main(tokens: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code; an error is one line unless --debug is given.

    Args:
        tokens: the words of the command line; by default those of this process.
    """
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
    if logging.lastResort:  # it prints warnings where nobody has set up logging
        logging.lastResort.setFormatter(_PlainWarnings())
    if "--offline" in tokens:
        os.environ["VISIONKIT_OFFLINE"] = "1"
    try:
        words = _without_limits([token for token in tokens if token not in ("--debug", "--offline")])
        _check_written(words)
        code = app(words, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()  # a closed pipe is noticed here, and not when the interpreter ends
        return code
    except KeyboardInterrupt as error:  # also an `Interrupted`, which says how the training goes on
        print(f"visionkit: {error.args[0] if error.args else 'interrupted'}", file=sys.stderr)
        return 128 + getattr(error, "number", signal.SIGINT)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return 141  # as a shell reports a program that a closed pipe ended
        if "--debug" in tokens:
            raise
        print(f"visionkit: error: {_one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, cyclopts.CycloptsError) else 1


class _PlainWarnings(logging.Formatter):
    """Our warnings without control characters, since they quote names of files; those of others as they are."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return plain(text) if record.name.split(".")[0] == "visionkit" else text


def _without_limits(tokens: list[str]) -> list[str]:
    """The words without --limits N, which is put into the environment, where worker processes find it too."""
    at = next((i for i, token in enumerate(tokens) if token.partition("=")[0] == "--limits"), None)
    if at is None:
        return tokens
    option, *after = tokens[at:]
    if "=" not in option and not after:
        raise DataError("--limits: expected a number behind it: how many times larger the limits on files become")
    os.environ[limits.VARIABLE] = option.partition("=")[2] if "=" in option else after.pop(0)
    limits.times()  # says what is wrong with the number
    return tokens[:at] + after


def _check_written(tokens: list[str]) -> None:
    """Refuses the address of a store where only a path on this machine will do."""
    for token, behind in zip(tokens, [*tokens[1:], ""], strict=True):
        name, _, value = token.partition("=")
        if name in WRITTEN and not (name == "--out" and tokens[0] in INTO_STORES):
            check_local(value or behind)


def _one_line(error: Exception) -> str:
    """The first line of the error's message with its notes; in front the name of an error that is not ours."""
    line = next((line for line in str(error).splitlines() if line.strip()), "no message; --debug shows more")
    notes = [note for note in getattr(error, "__notes__", ()) if "\n" not in note]  # a longer note is a log
    expected = isinstance(error, DataError | cyclopts.CycloptsError | OSError)
    return plain("; ".join([line if expected else f"{type(error).__name__}: {line}", *notes]))


def _output_is_closed() -> bool:
    """Whether stdout is a pipe that nobody reads any more, as after `| head`; if so, further output is discarded.

    Any other broken pipe is an error.
    """
    stdout = select.poll()
    stdout.register(1, 0)
    if not stdout.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the interpreter complains about unwritten output as it ends
    return True
