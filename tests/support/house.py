"""The plan of the package: which parts there are, who imports whom, and what follows from it.

`ALLOWED` is the one place that states it. tests/test_house.py compares it with the code, and
tools/maintenance/floors.py draws it into docs/design.md.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "visionkit"

# Each part (a folder or a file directly in visionkit/), and the other parts that it imports. `types`, which has the
# conventions, may be imported by all. `cli`, `__main__` and the public API in `__init__` may import anything; so may
# configs/ and tools/, which are not in the package.
ANYTHING = {"cli", "__main__", "__init__"}
EVERYWHERE = {"types"}
ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "saved_classes": set(),
    "callable_package": set(),
    "npboxes": set(),
    "by_name": set(),
    "skeletons": set(),
    "files": set(),
    "limits": set(),
    "environment": set(),
    "processes": set(),
    "image_files": set(),
    "images": {"files", "limits"},
    "resizing": set(),
    "score_curve": set(),
    "videos": {"files", "environment"},
    "ops": set(),
    "layers": {"ops", "score_curve"},
    "backbones": {"by_name", "layers"},
    # Not backbones: a model is handed a backbone object.
    "models": {"by_name", "npboxes", "resizing", "score_curve", "skeletons", "ops", "layers"},
    "weights": {"environment", "files", "limits", "backbones", "models"},
    "html": {"resizing"},
    "data": {"by_name", "files", "limits", "npboxes", "skeletons", "images", "resizing", "image_files"},
    "metrics": {"files", "npboxes", "score_curve", "skeletons"},
    "style": {"files", "images", "resizing", "image_files", "videos", "models"},
    "predict": {"files", "npboxes", "images", "resizing", "image_files", "videos"},
    "export": {"callable_package", "environment", "processes", "limits", "npboxes", "images", "resizing", "image_files"}
    | {"models", "predict", "score_curve", "skeletons", "style"},
    "fast": {"by_name", "files", "images", "data", "predict", "evaluate", "export"},
    "certify": {"backbones", "models", "weights"},
    "hub": {"calibrate", "environment", "guarantee", "files", "limits", "resizing", "models", "export"},
    "open_model": {
        "by_name",
        "environment",
        "files",
        "fast",
        "hub",
        "backbones",
        "models",
        "weights",
        "style",
        "predict",
        "export",
        "guarantee",
    },
    "evaluate": {"by_name", "callable_package", "files", "images", "data", "metrics", "predict"},
    "train": {"callable_package", "files", "environment", "resizing", "models", "data", "evaluate", "predict"},
    "guarantee": {"callable_package", "files", "images", "metrics", "npboxes", "resizing", "data", "evaluate", "export"}
    | {"predict"},
    "calibrate": {"callable_package", "data", "evaluate", "html", "metrics", "score_curve"},
    "suspects": {"callable_package", "data", "evaluate", "html", "image_files", "limits", "metrics", "npboxes"}
    | {"predict", "resizing"},
    "next_photos": {"callable_package", "data", "evaluate", "files", "html", "image_files", "limits", "predict"}
    | {"resizing"},
    "doctor": {"callable_package", "npboxes", "images", "resizing", "image_files", "html", "data", "predict"},
    "compare": {"callable_package", "html", "data", "metrics", "predict", "evaluate"},
    "report": {
        "data",
        "limits",
        "calibrate",
        "guarantee",
        "files",
        "images",
        "html",
        "metrics",
        "evaluate",
        "doctor",
        "export",
        "fast",
    },
    "recipes": {"backbones", "by_name", "weights", "models", "data", "train", "open_model"},  # like a file in configs/
    "checks": {"files", "environment", "processes", "data", "ops", "models", "predict", "evaluate", "train"},
    "scale": {"files", "image_files", "images", "limits", "predict"},
    "experiments": {"files", "open_model", "data", "metrics", "predict", "evaluate", "train"},
    "bench": {"files", "environment", "image_files", "open_model", "export", "predict"},
    "serve": {"limits", "images", "predict"},
}


def python_files() -> list[Path]:
    """Every file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def part_of(file: Path) -> str:
    """The part that a file of the package belongs to: `data` for data/coco.py, `images` for images.py."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(file: Path) -> Iterator[str]:
    """Dotted names that `file` imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_parts(file: Path) -> set[str]:
    """The parts of visionkit, other than its own, that a file of the package imports."""
    names = [name.split(".") for name in imports(file)]
    return {name[1] for name in names if name[0] == "visionkit" and name[1:]} - {part_of(file), "__version__"}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A way through `graph` (name -> the names it points to) that comes back to where it began; [] if there is none."""
    finished: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in finished:
            for following in sorted(graph.get(name, ())):
                if found := walk(following, [*path, name]):
                    return found
            finished.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def floors() -> list[list[str]]:
    """The parts by floor, lowest first: a part stands one floor above the highest part that it imports."""
    heights: dict[str, int] = {}

    def height(part: str) -> int:
        if part not in heights:
            heights[part] = 1 + max((height(below) for below in (ALLOWED[part] | EVERYWHERE) - {part}), default=-1)
        return heights[part]

    for part in ALLOWED:
        height(part)
    rows = [sorted(part for part in heights if heights[part] == n) for n in range(max(heights.values()) + 1)]
    return [[part for part in row if part != "__init__"] for row in rows]


def purpose(part: str) -> str:
    """The first sentence of a part's docstring, on one line.

    Raises:
        SystemExit: the part has no file to hold one.
    """
    file = PACKAGE / part / "__init__.py" if (PACKAGE / part).is_dir() else PACKAGE / f"{part}.py"
    if not file.exists():
        raise SystemExit(f"{file.relative_to(ROOT)} is missing: write it, with a sentence that says what it is for")
    first = (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n\n")[0]
    return " ".join(first.split()).partition(". ")[0].rstrip(".")
