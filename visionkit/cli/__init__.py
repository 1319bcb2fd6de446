"""`visionkit VERB ...`: one function a verb, in the files beside. Heavy imports stand inside the verbs, so that --help
answers at once."""

import os
import select
import sys

import cyclopts

from visionkit import __version__
from visionkit.cli.data import doctor
from visionkit.cli.experiments import folds, lr_find, search, seeds
from visionkit.cli.exports import export
from visionkit.cli.models import bench, classify, detect, segment, serve
from visionkit.cli.reports import report
from visionkit.cli.runs import finetune, selftest, train
from visionkit.cli.scores import evaluate
from visionkit.cli.style import stylize
from visionkit.cli.weights import convert_weights, weights
from visionkit.types import DataError

app = cyclopts.App(
    name="visionkit",
    help="Fine-tune, evaluate, run and export computer vision models. With --debug, errors show their traceback; "
    "with --offline, the network is never touched.",
    version=__version__,
    result_action="return_value",
)
for _verb in (doctor, finetune, evaluate, report, detect, classify, segment, stylize, export, serve, bench, weights):
    app.command(_verb)
app.command(selftest)
for _verb in (train, folds, search, seeds):
    app.command(_verb, help_flags=[])  # its help is the recipe's
app.command(lr_find, name="lr_find", help_flags=[])
app.command(convert_weights, name="convert_weights")


@app.command
def env():
    """Versions, devices, and why no GPU is seen."""
    from visionkit.environment import describe, import_keras_quietly

    try:
        import_keras_quietly()
    finally:
        print(describe())


def main(tokens: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code; an error is one line unless --debug is given."""
    tokens = list(sys.argv[1:] if tokens is None else tokens)
    debug = "--debug" in tokens
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be UTF-8
    if "--offline" in tokens:
        os.environ["VISIONKIT_OFFLINE"] = "1"
    try:
        words = [t for t in tokens if t not in ("--debug", "--offline")]
        code = app(words, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()  # what a closed pipe does not take is noticed here, and not when the interpreter ends
        return code
    except KeyboardInterrupt:
        print("visionkit: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 141  # what a shell says of a program that ends so
        if debug:
            raise
        known = isinstance(error, DataError | cyclopts.CycloptsError | OSError)
        line = next((line for line in str(error).splitlines() if line.strip()), "no message; --debug shows more")
        notes = (note for note in getattr(error, "__notes__", ()) if "\n" not in note)  # else it is a log
        line = "; ".join([line, *notes])
        print(f"visionkit: error: {'' if known else type(error).__name__ + ': '}{line}", file=sys.stderr)
        return 2 if isinstance(error, cyclopts.CycloptsError) else 1


def _nobody_reads() -> bool:
    """Whether our output goes to a pipe that was closed, as `| head` does once it has its lines; then it is let go.

    Other pipes may break too, and that is an error.
    """
    stdout = select.poll()
    stdout.register(1, 0)
    if not stdout.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or the interpreter complains of what is left as it ends
    return True
