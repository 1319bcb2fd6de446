"""What a run folder keeps so that the run can be resumed, and what must not have changed. Imports no framework."""

import hashlib
import importlib
import json
import shlex
import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any

from visionkit.data.dataset import Dataset
from visionkit.files import as_json, sha256_of, write_json
from visionkit.train.options import Options
from visionkit.train.trust import is_sealed, seal
from visionkit.types import DataError, in_words

FILE = "resume.json"
# Runs that began before these functions moved name them by their old modules.
MOVED = {
    "visionkit.train.finetune:detect": "visionkit.recipes.detect:detect",
    "visionkit.train.finetune:instance": "visionkit.recipes.instance:instance",
    "visionkit.train.finetune:classify": "visionkit.recipes.classify:classify",
    "visionkit.train.finetune:segment": "visionkit.recipes.segment:segment",
    "visionkit.train.selftest_recipe:recipe": "visionkit.checks.selftest_recipe:recipe",
}
FINETUNE = "visionkit.recipes."  # where the recipes of `visionkit finetune` are
# The recipes of the package, which any run folder may name.
INSTALLED = frozenset((*MOVED.values(), "visionkit.recipes.keypoints:keypoints"))
HELD_OUT = "visionkit.experiments.folds:held_out"  # calls the recipe that its knob `recipe` names


@dataclass(frozen=True, kw_only=True)
class Started:
    """How a run was started: the content of resume.json.

    Args:
        recipe: "MODULE:FUNCTION", or "recipe.py" for the copy of a recipe's file in the run folder.
        sha256: of that copy; "" without one.
        backend: Keras' name for it, such as "tensorflow".
        options: see `Options`.
        mac: the code by which this user's own runs are known, see `visionkit.train.trust`; "" in older runs. It covers
            everything above and the knobs.
    """

    recipe: str
    sha256: str
    backend: str
    options: Options
    mac: str = ""


def write_started(out: Path, recipe_function: Callable, backend: str, options: Options) -> None:
    """Writes resume.json, for `read_started`; knobs.json and, for a recipe's file, recipe.py are already in `out`."""
    copy = out / "recipe.py"
    name = copy.name if copy.exists() else recipe_name(recipe_function)
    started = Started(recipe=name, sha256=_sha256(copy), backend=backend, options=options)
    mac = seal(_covered(started, _read_json(out / "knobs.json")))
    write_json(out / FILE, asdict(started) | {"mac": mac})


def recipe_name(recipe_function: Callable) -> str:
    """MODULE:FUNCTION, by which `recipe_by_name` finds the function again."""
    return f"{recipe_function.__module__}:{recipe_function.__qualname__}"


def command_to_resume(out: Path) -> str:
    """The command that continues the run in `out`, or what to call where no command finds its recipe."""
    name = _read_json(out / FILE)["recipe"]
    if not has_command(name):
        return f"vk.resume({str(out)!r}, recipe=(function, knobs))"
    verb = "finetune" if name.startswith(FINETUNE) else "train"
    return shlex.join(["visionkit", verb, "--resume", str(out)])


def has_command(name: str) -> bool:
    """Whether another process finds the recipe that `recipe_name` named: not what a script or a function defines."""
    return not name.startswith("__main__:") and "<" not in name


def finetuned(out: Path) -> tuple[str, dict]:
    """(task, knobs) of a run that `visionkit finetune` started; ("", {}) for any other."""
    name = read_started(out).recipe
    name = MOVED.get(name, name)
    if not name.startswith(FINETUNE):
        return "", {}
    return name.partition(":")[2], knobs_of(recipe_by_name(name), _read_json(out / "knobs.json"))


def recipe_by_name(name: str) -> Callable:
    """The function that `recipe_name` named, or the one in the file `name`; the module or file is executed."""
    if name.endswith(".py"):
        from visionkit.train.recipe import load_recipe

        return load_recipe(Path(name))
    module, _, function = MOVED.get(name, name).partition(":")
    return getattr(importlib.import_module(module), function)


def read_interrupted(out: Path) -> Started:
    """Like `read_started`, but a finished run is a `DataError` too."""
    if (out / FILE).is_file() and (out / "results.json").exists():
        raise DataError(f"{out}: this run has finished; there is nothing to resume")
    return read_started(out)


def read_started(out: Path) -> Started:
    """Reads resume.json.

    Raises:
        DataError: `out` is not a run folder, or the recipe's file has changed.
    """
    if not (out / FILE).is_file():
        raise DataError(f"{out}: expected the folder of a run, found no {FILE} there")
    content = _read_json(out / FILE)
    try:
        content["options"] = Options(**content["options"])
        started = Started(**content)
    except (KeyError, TypeError) as error:
        reason = "an entry is missing, unknown or of another kind than expected"
        raise DataError(f"{out / FILE}: damaged, or written by another version of visionkit: {reason}") from error
    if started.sha256 != _sha256(out / "recipe.py"):
        raise DataError(f"{out / 'recipe.py'}: changed since the run began; put it back, or start a new run")
    return started


def recipe_of(out: Path, started: Started, trust: bool = False) -> tuple[Callable, dict]:
    """(recipe_function, knobs) of the run in `out`.

    A run folder may come from anyone, and what it names is executed here. So it may name a recipe of this package; any
    other only if this user started the run on this machine.

    Args:
        started: of `read_started`.
        trust: the user vouches for the folder.

    Raises:
        DataError: the folder's recipe must not be executed.
    """
    knobs = _read_json(out / "knobs.json")
    own = is_sealed(_covered(started, knobs), started.mac)
    if not (trust or own or _is_installed(started.recipe, knobs)):
        what = "recipe.py" if started.recipe == "recipe.py" else repr(started.recipe)
        raise DataError(
            f"{out}: its recipe ({what}) was not executed, since nothing shows that you started this run on this "
            "machine; if you trust it, add --trust"
        )
    recipe_function = recipe_by_name(str(out / started.recipe) if started.recipe == "recipe.py" else started.recipe)
    return recipe_function, knobs_of(recipe_function, knobs)


def recipe_from(file: Path, out: Path, started: Started) -> tuple[Callable, dict]:
    """Like `recipe_of`, with the user's own copy of the recipe's file, so that nothing in `out` is executed.

    Raises:
        DataError: it is another recipe than the run began with.
    """
    if not file.is_file() or _sha256(file) != started.sha256:
        raise DataError(f"{file}: not the recipe that {out} began with; name that one, or start a new run")
    recipe_function = recipe_by_name(str(file))
    return recipe_function, knobs_of(recipe_function, _read_json(out / "knobs.json"))


def knobs_of(recipe_function: Callable, knobs: dict) -> dict:
    """Knobs from a JSON file, converted to the types in the function's signature."""
    annotations = typing.get_type_hints(recipe_function)
    return {name: _typed(value, annotations.get(name)) for name, value in knobs.items()}


def fingerprint(dataset: Dataset) -> str:
    """A SHA-256 that differs when a data set has changed: its samples' ids, sizes, annotations or file sizes.

    Pixels are not looked at, except for images in memory; nor are masks and class maps, which are read with the pixels.
    """
    digest = hashlib.sha256(json.dumps(dataset.class_names).encode())
    for record in dataset.records:
        size = record.file.stat().st_size if record.file else None
        digest.update(repr((record.id, record.image_size, record.label, size)).encode())
        for array in (record.image, record.boxes, record.labels, record.ignore, record.keypoints):
            if array is not None:
                digest.update(array.tobytes())
    return digest.hexdigest()


def _typed(value: Any, annotation: Any) -> Any:
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation(**value)
    kinds = {typing.get_origin(kind) or kind for kind in (annotation, *typing.get_args(annotation))}
    if isinstance(value, str) and Path in kinds:
        return Path(value)
    return tuple(value) if isinstance(value, list) and tuple in kinds else value


def _is_installed(name: str, knobs: dict) -> bool:
    """Whether a recipe, and the one that its knobs may name in turn, is part of this package."""
    name = knobs.get("recipe", "") if name == HELD_OUT else name
    return isinstance(name, str) and MOVED.get(name, name) in INSTALLED


def _covered(started: Started, knobs: dict) -> Any:
    """What the code in resume.json covers."""
    return as_json([asdict(started) | {"mac": ""}, knobs])


def _read_json(file: Path) -> dict[str, Any]:
    """The object in a JSON file; `DataError` where there is none."""
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file}: cannot be read ({in_words(error)})") from error
    if not isinstance(content, dict):
        raise DataError(f"{file}: expected a JSON object")
    return content


def _sha256(file: Path) -> str:
    return sha256_of(file) if file.exists() else ""
