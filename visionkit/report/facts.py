"""`visionkit report RUN`: what a run folder says of itself, and the page that is made of it."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path

from visionkit.evaluate.learning_curves import read_history
from visionkit.evaluate.scores import MONITOR
from visionkit.files import write_bytes
from visionkit.types import DataError

FILE = "report.html"


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What stands in a run folder.

    Args:
        folder: it.
        about: the first line of the recipe's docstring, or "".
        knobs: what the recipe was called with.
        options: how it was carried out, see `Options`; {} of old runs.
        results: of results.json; {} while the run has not finished.
        history: see `read_history`.
    """

    folder: Path
    about: str
    knobs: dict
    options: dict
    results: dict
    history: list[dict[str, float]]

    @property
    def task(self) -> str | None:
        """The task that the results are of; None where there are none."""
        if "mask_mAP50" in self.results:
            return "instance"
        return next((task for task, monitor in MONITOR.items() if monitor in self.results), None)

    @property
    def waited(self) -> float | None:
        """The share of the time, 0..1, in which training waited for data; None where that was not measured."""
        if not self.results.get("seconds") or "waited" not in self.results:
            return None
        return self.results["waited"] / self.results["seconds"]

    @property
    def data(self) -> Path | None:
        """The folder of the data, where a knob of the recipe names one."""
        named = [self.knobs[name] for name in ("data", "data_dir") if self.knobs.get(name)]
        return Path(named[0]) if named else None


@dataclass(kw_only=True)
class Findings:
    """What was found out about the model and its data for the report.

    Args:
        task: of the model.
        scores: of `evaluate` with `closely`, or of results.json.
        measured: what the scores are of, for people.
        doctor: the `data.doctor.Report`, or None.
        size: (height, width) of what the network sees, where that is known.
        absent: part of the page -> why it is not there.
    """

    task: str | None = None
    scores: dict = field(default_factory=dict)
    measured: str = ""
    doctor: object = None
    size: tuple[int, int] | None = None
    absent: dict[str, str] = field(default_factory=dict)


def read_run(folder: Path) -> RunFacts:
    """Reads the small files of a run folder; executes nothing.

    Raises:
        DataError: it is not the folder of a run, or nothing has been trained in it yet.
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


def write_report(run: RunFacts, findings: Findings) -> Path:
    """Writes report.html into the run folder, whole or not at all, and returns its path."""
    from visionkit.report.page import page

    file = run.folder / FILE
    write_bytes(file, page(run, findings).encode())
    return file


def _json(file: Path) -> dict:
    return json.loads(file.read_text()) if file.is_file() else {}


def _about(recipe: Path) -> str:
    if not recipe.is_file():
        return ""
    return (ast.get_docstring(ast.parse(recipe.read_text())) or "").partition("\n")[0]
