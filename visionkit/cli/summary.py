"""What is printed when a training has ended: its scores, how they came about, and what to do next."""

import shlex
from pathlib import Path
from typing import Any

from visionkit.cli.scores import print_scores
from visionkit.files import write_json

LAST = 3  # epochs with a score that are shown
TEST_FILE = "test.json"  # in the run's folder: the scores on the test split
_VERBS = {"detect": "detect", "instance": "detect", "classify": "classify", "segment": "segment"}


def print_summary(results: dict[str, Any], out: Path) -> None:
    """Prints the scores of a run for each class, those of its last epochs, what was written, and the next commands."""
    print_scores(results)
    # Of several processes that train together, one writes the run.
    if (out / "history.csv").is_file():
        print(_epochs(results, out))
        print(_sizes(results, out))
    print(f"run folder: {out}")
    print("next:")
    for words in _next(results, out):
        print(f"  {shlex.join(words)}")


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


def _next(results: dict[str, Any], out: Path) -> list[list[str]]:
    """The three commands that most people need next."""
    run = str(out)
    commands = [["report", run]]
    if verb := _VERBS.get(results["task"]):
        commands.append([verb, run, "IMAGES", str(out / "predictions")])
    commands.append(["export", run, str(out / "onnx"), "--to", "onnx"])
    return [["visionkit", *words] for words in commands]


def score_test_split(out: Path, data: Path, task: str, classes: Path | None, void: int | None) -> None:
    """Prints what the trained model reaches on the test split, if the data has one; also writes test.json."""
    from visionkit.data.recognise import open_dataset, splits
    from visionkit.evaluate.scores import evaluate, numbers
    from visionkit.open_model import open_predictor

    # Of several processes that train together, one writes the run.
    if "test" not in splits(data, task) or not (out / "results.json").is_file():
        return
    print("on the test split, which was not learned from:")
    scores = evaluate(open_predictor(out), open_dataset(data, "test", task, classes, void))
    write_json(out / TEST_FILE, numbers(scores))
    print_scores(scores)


def lacks_test_score(out: Path, data: Path, task: str) -> bool:
    """Whether a finished run still waits for its score on the test split: that was interrupted."""
    from visionkit.data.recognise import splits

    return (out / "results.json").is_file() and not (out / TEST_FILE).is_file() and "test" in splits(data, task)
