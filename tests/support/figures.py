"""The figures that pages quote. A comment right behind one says where it comes from:

0.921<!-- from docs/results/ssd_bccd-0.json scores.mAP50 -->    a value of a JSON file; "%" stands for a hundredth
23.5 %<!-- measured scratch -->    an expression in the names of the page's code, which `make book` evaluates
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support.paths import ROOT

MEASURED = ROOT / "docs" / "course" / "measured.json"  # written by `make book`: page -> expression -> value
MARKED = re.compile(r"(\d[\d,]*(?:\.\d+)?)( %| min)?<!-- (from|measured) (.+?) -->")
UNITS = {" %": 100, " min": 1 / 60, "": 1}  # what the value is multiplied by
FRACTION = re.compile(r"(?<![\w.])\d+\.\d+(?!\w|\.\d)")
THRESHOLDS = re.compile(r"IoUs?\s+of\s+[\d. to]+|averages\s+over [\d., ]+", re.S)
CLAIM = re.compile(r"\b(?:mAP50|mAP|mIoU|top-1|accuracy|reach(?:es|ed)|was written)\b")
CITED = re.compile(r"arXiv|https?://|authors|[Pp]ublished|torchvision|paper|notebooks")  # somebody else's figures
CODE = re.compile(r"^```.*?^```$|^    .*?$|`[^`]*`", re.S | re.M)
TABLE_OF_RESULTS = re.compile(r"<!-- results -->.*<!-- /results -->", re.S)  # of the README; results.py writes it


class Figure(NamedTuple):
    """A figure as a page shows it, "23.5" with the unit " %", and where it comes from."""

    shown: str
    unit: str
    kind: str
    source: str


def figures(page: Path) -> list[Figure]:
    return [Figure(*found) for found in MARKED.findall(page.read_text())]


def value_of(figure: Figure, page: Path) -> float:
    """The value that the figure's file holds.

    Raises:
        KeyError: it holds none; or FileNotFoundError.
    """
    if figure.kind == "measured":
        return json.loads(MEASURED.read_text())[page.name][figure.source]
    file, key = figure.source.split()
    value: Any = json.loads((ROOT / file).read_text())
    for part in key.split("."):
        value = value[part]
    return value


def as_shown(value: float, figure: Figure) -> str:
    """The value with the figure's unit and as many decimals."""
    decimals = len(figure.shown.partition(".")[2])
    return f"{value * UNITS[figure.unit]:,.{decimals}f}"


def measured(page: Path, names: dict[str, Any]) -> dict[str, float]:
    """The values of the page's expressions, in the names that its code has defined."""
    return {figure.source: float(eval(figure.source, names)) for figure in figures(page) if figure.kind == "measured"}


def claims(text: str) -> Iterator[str]:
    """Sentences and table rows with a score that we measured and that names no source."""
    for known in (MARKED, CODE, TABLE_OF_RESULTS, THRESHOLDS):
        text = known.sub("", text)
    for sentence in re.split(r"(?<=[.:])\s|\n\n|\n(?=[|-] ?)", text):
        if CLAIM.search(sentence) and FRACTION.search(sentence) and not CITED.search(sentence):
            yield " ".join(sentence.split())
