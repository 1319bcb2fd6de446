"""What `visionkit report` knows: the files of a run folder, and an assessment of the model and its data."""

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionkit.data.files import read_json
from visionkit.doctor.diagnosis import Diagnosis
from visionkit.evaluate.learning_curves import read_history
from visionkit.evaluate.scores import MONITOR
from visionkit.limits import JSON
from visionkit.types import DataError


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """The contents of a run folder.

    Args:
        folder: the run folder.
        about: the first line of the recipe's docstring, or "".
        knobs: the arguments of the recipe.
        options: how it was trained, see `Options`; {} for old runs.
        results: of results.json; {} until the run has finished.
        history: see `read_history`.
    """

    folder: Path
    about: str
    knobs: dict[str, Any]
    options: dict[str, Any]
    results: dict[str, Any]
    history: list[dict[str, float]]

    @property
    def task(self) -> str | None:
        """The task that the results belong to; None without results."""
        if "mask_mAP50" in self.results:
            return "instance"
        if "keypoint_mAP50" in self.results:
            return "keypoints"
        return next((task for task, monitor in MONITOR.items() if monitor in self.results), None)

    @property
    def waited(self) -> float | None:
        """The share of the time, 0..1, in which training waited for data; None if that was not measured."""
        if not self.results.get("seconds") or "waited" not in self.results:
            return None
        return self.results["waited"] / self.results["seconds"]

    @property
    def data(self) -> Path | None:
        """The folder of the data, if a knob of the recipe names it."""
        named = [self.knobs[name] for name in ("data", "data_dir") if self.knobs.get(name)]
        return Path(named[0]) if named else None


@dataclass(kw_only=True)
class Assessment:
    """What was found out about the model and its data for the report.

    Args:
        task: of the model.
        scores: of `evaluate` with `closely`, or of results.json.
        measured: a description of what the scores were measured on.
        diagnosis: the doctor's, of the data; None if it was not examined.
        size: (height, width) of the network's input, if known.
        absent: part of the page -> why it is missing; "model" stands for all parts that need the model.
    """

    task: str | None = None
    scores: dict[str, Any] = field(default_factory=dict)
    measured: str = ""
    diagnosis: Diagnosis | None = None
    size: tuple[int, int] | None = None
    absent: dict[str, str] = field(default_factory=dict)


def read_run(folder: Path) -> RunFacts:
    """Reads the small files of a run folder; nothing is executed.

    Raises:
        DataError: it is not a run folder, or nothing has been trained in it yet.
    """
    if not (folder / "knobs.json").is_file():
        raise DataError(f"{folder}: expected the folder of a run, found no knobs.json there")
    if not (folder / "history.csv").is_file():
        raise DataError(f"{folder}: the run has no history.csv yet: it is written at the end of the first epoch")
    return RunFacts(
        folder=folder,
        about=_about(folder / "recipe.py"),
        knobs=_json(folder / "knobs.json"),
        options=_json(folder / "resume.json").get("options", {}),
        results=_json(folder / "results.json"),
        history=read_history(folder),
    )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file, JSON) if file.is_file() else {}


def _about(recipe: Path) -> str:
    if not recipe.is_file():
        return ""
    return (ast.get_docstring(ast.parse(recipe.read_text())) or "").partition("\n")[0]
