"""The section of a report about the other forms of a run's model: what was exported, and what proves it equal."""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from visionkit.export.verify import REPORT, summary
from visionkit.fast.choice import PACKAGES
from visionkit.fast.kept import FOLDER, find, source_of
from visionkit.fast.model import told
from visionkit.html.document import text
from visionkit.report.facts import RunFacts


def forms(run: RunFacts) -> str:
    """A line for the form that runs by default and for each export in the run folder; "" if there are none."""
    lines = [*_fast_forms(run.folder), *_exports(run.folder)]
    if not lines:
        return ""
    items = "".join(f"<li>{text(line)}</li>" for line in lines)
    return f'<h2>Exports, compared with the model</h2><ul class="words card">{items}</ul>'


def _fast_forms(folder: Path) -> Iterator[str]:
    """Of the model as it is now: a form of an earlier one, such as before a calibration, is not used."""
    if not (folder / FOLDER).is_dir() or not (folder / "model.keras").is_file():
        return
    source = source_of(folder)
    for name, package in PACKAGES.items():
        found = find(source, name) if find_spec(package) else None
        if found is None:
            continue
        where, fast = found
        if fast.refused:
            yield f"no form for {name}, so Keras runs the model: {fast.refused}"
        else:
            shown = where.relative_to(folder) if where.is_relative_to(folder) else where
            yield f"run by default on this kind of machine: {told(shown, name, fast)}"


def _exports(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob(f"*/{REPORT}")):
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            if report["verdict"] == "failed":
                line = f"DIFFERS from the model, see {file.relative_to(folder)}"
            else:
                line = summary(report)
            yield f"{report['exporter']} in {file.parent.name}: {line}"
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            yield f"{file.relative_to(folder)}: damaged, or written by another version of visionkit"
