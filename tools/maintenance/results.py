"""Maintains the README's table of results: a maintenance script, not a verb.

python tools/maintenance/results.py add RECIPE RUN SCORES.json  files a run's scores (evaluate --json) in docs/results
python tools/maintenance/results.py                             writes the README's table from docs/results

What is filed as FOLDER/NAME instead of RECIPE, pages may quote, but the table leaves it out.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "docs" / "results"
# The metrics that the table shows if a run has them, and their decimals; 10,000 test images allow one more.
METRICS = {"mAP50": 3, "mAP": 3, "mask_mAP50": 3, "top1": 4, "mIoU": 3}


def add(recipe: str, run: Path, scores: Path) -> Path:
    """Files the scores of one run under its recipe and seed."""
    trained = json.loads((run / "results.json").read_text())
    seed = trained["knobs"].get("seed", 0)
    knobs = {k: v for k, v in trained["knobs"].items() if k not in ("data", "data_dir")}  # paths say nothing
    entry = {
        "recipe": recipe,
        "seed": seed,
        "scores": json.loads(scores.read_text()),
        "knobs": knobs,
        "training_seconds": trained["seconds"],
        "environment": trained["environment"],
    }
    file = RESULTS / f"{recipe}-{seed}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(entry, indent=2) + "\n")
    return file


def table() -> str:
    """One row for each recipe: each metric as the median over the seeds (min..max), the training time, and where.

    With one seed, a metric that was filed with its 95 % interval over images shows that.
    """
    runs = defaultdict(list)
    for file in sorted(RESULTS.glob("*.json")):
        entry = json.loads(file.read_text())
        runs[entry["recipe"]].append(entry)
    lines = ["| recipe | reached | images scored | training | machine |", "|---|---|---|---|---|"]
    for recipe, entries in sorted(runs.items()):
        reached = [_spread(key, [e["scores"] for e in entries]) for key in METRICS if key in entries[0]["scores"]]
        time = _duration(median(e["training_seconds"] for e in entries))
        images, machine = entries[0]["scores"]["images"], entries[0]["environment"]["machine"]
        link = f"[{recipe}](configs/{recipe}.py)"
        lines.append(f"| {link} | {', '.join(reached)} | {images} | {time} | {machine} |")
    return "\n".join(lines)


def readme(text: str) -> str:
    """The README's text with the table in its place."""
    return re.sub(r"(<!-- results -->\n).*(<!-- /results -->)", rf"\g<1>{table()}\n\g<2>", text, flags=re.S)


def _spread(key, scores):
    values = [of_run[key] for of_run in scores]
    decimals = METRICS[key]
    if len(values) > 1:
        middle, low, high = (f"{value:.{decimals}f}" for value in (median(values), min(values), max(values)))
        return f"{key} {middle} ({low}..{high}, {len(values)} seeds)"
    text = f"{key} {values[0]:.{decimals}f}"
    if f"{key}_low" not in scores[0]:
        return text
    return f"{text} (95 %: {scores[0][f'{key}_low']:.{decimals}f}..{scores[0][f'{key}_high']:.{decimals}f})"


def _duration(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"


if __name__ == "__main__":
    if sys.argv[1:2] == ["add"]:
        print(add(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
    file = ROOT / "README.md"
    file.write_text(readme(file.read_text()))
