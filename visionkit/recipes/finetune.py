"""`visionkit finetune` for Python: the built-in recipe of a task on the user's data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from visionkit.by_name import nearest
from visionkit.data.augment_file import saved_form
from visionkit.data.recognise import tasks_of
from visionkit.recipes import RECIPES
from visionkit.train.options import Options
from visionkit.train.run import run
from visionkit.types import DataError


def finetune(
    data: Path | str,
    out: Path | str,
    *,
    task: str | None = None,
    augment: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    options: Options = Options(),  # noqa: B008, it is frozen
    **knobs: Any,
) -> dict[str, Any]:
    """Fine-tunes a pretrained network on the data in a folder, as `visionkit finetune` does.

    Args:
        data: a folder in any layout that `open_dataset` recognises.
        out: the run folder, new or empty; `open_predictor` and `resume` take it afterwards.
        task: a key of `RECIPES`: "detect", "instance", "keypoints", "classify" or "segment"; by default what the data
            is for.
        augment: an albumentations pipeline, the file in which `A.save` saved one, or preprocessing layers of Keras, as
            `Augment` takes them; they replace our own augmentation.
        callbacks: Keras callbacks of your own; see `train`.
        options: how the run is carried out; see `Options`.
        knobs: of the task's recipe, such as `epochs`, `backbone` and `lr`; see `RECIPES[task]`. `model` and `backbone`
            may name what was added to `MODELS` and `BACKBONES`.

    Returns:
        The scores and settings that results.json in the run folder holds.

    Raises:
        DataError: the recipe has no such knob, or as for `train` and the recipe.
    """
    if not isinstance(data, str | Path):
        found = type(data).__name__
        raise DataError(f"finetune takes the folder of the data, found {found}; give a Dataset to fit or to a Recipe")
    task = task or tasks_of(Path(data))[0]
    if task not in RECIPES:
        raise DataError(f"task {task!r}: no such task{nearest(task, RECIPES)}")
    recipe_function = RECIPES[task]
    if augment is not None:
        knobs["augment"] = saved_form(augment)
    known = recipe_function.__annotations__.keys() - {"return", "data"}
    for name in knobs.keys() - known:
        raise DataError(f"{name}: the recipe for {task} has no such knob{nearest(name, sorted(known))}")
    return run(recipe_function, {"data": Path(data), **knobs}, out, options=options, callbacks=callbacks)
