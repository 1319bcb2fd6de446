"""What a run folder must say for the run to be continued, and what must be as it was. Imports no framework."""

import hashlib
import importlib
import json
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path

from visionkit.files import write_json
from visionkit.train.options import Options
from visionkit.types import DataError

FILE = "resume.json"
# Runs that began before a recipe moved name it by its old place.
MOVED = {
    "visionkit.train.finetune:detect": "visionkit.recipes.detect:detect",
    "visionkit.train.finetune:instance": "visionkit.recipes.instance:instance",
    "visionkit.train.finetune:classify": "visionkit.recipes.classify:classify",
    "visionkit.train.finetune:segment": "visionkit.recipes.segment:segment",
    "visionkit.train.selftest_recipe:recipe": "visionkit.checks.selftest_recipe:recipe",
}


@dataclass(frozen=True, kw_only=True)
class Started:
    """How a run was started.

    Args:
        recipe: "MODULE:FUNCTION", or "recipe.py" for the copy of a recipe's file in the run folder.
        sha256: of that copy, else "".
        backend: Keras' name of it.
        options: see `Options`.
    """

    recipe: str
    sha256: str
    backend: str
    options: Options


def write_started(out: Path, recipe: Callable, backend: str, options: Options) -> None:
    """Writes resume.json, for `read_started`; `out` has its knobs.json and, if there is a file, recipe.py already."""
    copy = out / "recipe.py"
    name = copy.name if copy.exists() else recipe_name(recipe)
    started = Started(recipe=name, sha256=_sha256(copy), backend=backend, options=options)
    write_json(out / FILE, asdict(started))


def recipe_name(recipe: Callable) -> str:
    """MODULE:FUNCTION, by which `recipe_by_name` finds it again."""
    return f"{recipe.__module__}:{recipe.__qualname__}"


def recipe_by_name(name: str) -> Callable:
    """The recipe's function that `recipe_name` named, or that of the file `name`, which is executed."""
    if name.endswith(".py"):
        from visionkit.train.recipe import load_recipe

        return load_recipe(Path(name))
    module, _, function = MOVED.get(name, name).partition(":")
    return getattr(importlib.import_module(module), function)


def read_interrupted(out: Path) -> Started:
    """`read_started` of a run that has not finished, else `DataError`."""
    if (out / FILE).is_file() and (out / "results.json").exists():
        raise DataError(f"{out}: this run has finished; there is nothing to resume")
    return read_started(out)


def read_started(out: Path) -> Started:
    """Reads resume.json.

    Raises:
        DataError: it is no run, or the recipe has changed.
    """
    if not (out / FILE).is_file():
        raise DataError(f"{out}: expected the folder of a run, found no {FILE} there")
    said = json.loads((out / FILE).read_text())
    started = Started(**said | {"options": Options(**said["options"])})
    if started.sha256 != _sha256(out / "recipe.py"):
        raise DataError(f"{out / 'recipe.py'}: changed since the run began; put it back, or start a new run")
    return started


def recipe_of(out: Path, started: Started) -> tuple[Callable, dict]:
    """The recipe's function and its knobs."""
    recipe = recipe_by_name(str(out / started.recipe) if started.recipe == "recipe.py" else started.recipe)
    return recipe, knobs_of(recipe, json.loads((out / "knobs.json").read_text()))


def knobs_of(recipe: Callable, knobs: dict) -> dict:
    """Knobs out of a JSON file with the types that the recipe's signature names."""
    annotations = typing.get_type_hints(recipe)
    return {name: _typed(value, annotations.get(name)) for name, value in knobs.items()}


def fingerprint(dataset) -> str:
    """Tells whether a data set is the same: SHA-256 of its samples' ids, sizes, annotations and files' sizes.

    Masks and class maps that are only read with the pixels count by neither; nor do pixels, but for images in memory.
    """
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for record in dataset.records:
        size = record.file.stat().st_size if record.file else None
        digest.update(repr((record.id, record.image_size, record.label, size)).encode())
        for array in (record.image, record.boxes, record.labels, record.ignore):
            if array is not None:
                digest.update(array.tobytes())
    return digest.hexdigest()


def _typed(value, annotation):
    if is_dataclass(annotation):
        return annotation(**value)
    kinds = {typing.get_origin(kind) or kind for kind in (annotation, *typing.get_args(annotation))}
    if isinstance(value, str) and Path in kinds:
        return Path(value)
    return tuple(value) if isinstance(value, list) and tuple in kinds else value


def _sha256(file):
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""
