"""What is printed when a training has ended: its scores, how they came about, and what to do next."""

import json
import shlex
import time
from pathlib import Path
from typing import Any

from visionkit.cli.scores import print_scores
from visionkit.files import write_json
from visionkit.types import BOX_TASKS, plain

LAST = 3  # epochs with a score that are shown
FAST_FORM = 90  # seconds that writing it may take, for --minutes
TEST_FILE = "test.json"  # in the run's folder: the scores on the test split
_VERBS = {**dict.fromkeys(BOX_TASKS, "detect"), "classify": "classify", "segment": "segment"}


def print_summary(results: dict[str, Any], out: Path) -> None:
    """Prints the scores of a run for each class, those of its last epochs, and how large is what it made."""
    print_scores(results)
    # Of several processes that train together, one writes the run.
    if (out / "history.csv").is_file():
        print(_epochs(results, out))
        print(_sizes(results, out))


def _epochs(results: dict[str, Any], out: Path) -> str:
    from visionkit.evaluate.learning_curves import read_history

    history = read_history(out)
    name = next((key for row in history for key in row if key.startswith("val_")), None)
    text = f"model.keras is that of epoch {results['epoch']} of {len(history)}"
    if name is None:
        return f"{text}, the last one; no images were held back to be scored on"
    rows = [row for row in history if name in row]
    best = next((row for row in rows if row["epoch"] == results["epoch"]), rows[-1])
    last = ", ".join(f"{row[name]:.4g} in epoch {row['epoch']:.0f}" for row in rows[-LAST:])
    return f"{text}, the best by {name.removeprefix('val_')} ({best[name]:.4g}); the last scores: {last}"


def _sizes(results: dict[str, Any], out: Path) -> str:
    height, width = results["image_size"]
    megabytes = [(out / "model.keras").stat().st_size / 1e6, _size_of(out) / 1e6]
    return (
        f"model.keras: {megabytes[0]:.1f} MB, {results['parameters'] / 1e6:.2f} million parameters, images of "
        f"{height}x{width}; the run folder: {megabytes[1]:.1f} MB"
    )


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def keep_fast_form(out: Path, built: list[Any], ends: float | None = None) -> None:
    """Writes the form of a run's model for the fastest runtime, and prints a line about it; see `visionkit.fast`.

    Args:
        out: the run folder.
        built: the recipe that was trained; empty where nothing was.
        ends: when the command must be over, by `time.monotonic`, if it must.
    """
    from visionkit.fast.model import keep_form

    if not built or built[0].model.task not in _VERBS or not (out / "model.keras").is_file():
        return
    if ends is not None and time.monotonic() + FAST_FORM > ends:
        print("fast form: --minutes leaves no time for it; detect and the like make it for a large folder")
    elif line := keep_form(out, built[0].val or built[0].train):
        print(plain(line))


def print_rest(out: Path, task: str, knobs: dict[str, Any]) -> None:
    """Prints the scores on the test split, where finetune knows one, and the three commands that most need next.

    Args:
        out: the run's folder.
        task, knobs: of finetune, see `finetuned`; "" and {} if it did not start the run.
    """
    if task and "test" in _splits(task, knobs):
        print("on the test split, which was not learned from:")
        _score_test_split(out, task, knobs)
    run = str(out)
    commands = [["report", run], ["export", run, "--to", "onnx", "--out", str(out / "onnx")]]
    if verb := _VERBS.get(json.loads((out / "results.json").read_text()).get("task", "")):
        commands.insert(1, [verb, run, "IMAGES", "--out", str(out / "predictions")])
    print(f"run folder: {out}\nnext:")
    for words in commands:
        print(f"  {shlex.join(['visionkit', *words])}")


def lacks_test_score(out: Path, task: str, knobs: dict[str, Any]) -> bool:
    """Whether a finished run of finetune still waits for its score on the test split, which was interrupted."""
    if not task or not (out / "results.json").is_file() or (out / TEST_FILE).is_file():
        return False
    return "test" in _splits(task, knobs)


def _splits(task: str, knobs: dict[str, Any]) -> list[str]:
    from visionkit.data.recognise import splits

    return splits(knobs["data"], task)


def _score_test_split(out: Path, task: str, knobs: dict[str, Any]) -> None:
    """Also writes test.json."""
    from visionkit.data.recognise import open_dataset
    from visionkit.evaluate.scores import evaluate, numbers
    from visionkit.open_model import open_predictor

    dataset = open_dataset(knobs["data"], "test", task, knobs.get("classes"), knobs.get("void"))
    scores = evaluate(open_predictor(out), dataset)
    write_json(out / TEST_FILE, numbers(scores))
    print_scores(scores)
