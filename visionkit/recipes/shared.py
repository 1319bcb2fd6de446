"""What the built-in recipes share: the split of the data, the size of the network's input, the backbone."""

import shlex
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from visionkit.backbones import BACKBONES, DILATED
from visionkit.by_name import nearest
from visionkit.data.augment import Augment
from visionkit.data.augment_file import pipeline_of
from visionkit.data.box_formats import check_objects
from visionkit.data.dataset import Dataset
from visionkit.data.recognise import open_dataset, splits
from visionkit.data.repair import Repairs
from visionkit.models import MODELS
from visionkit.models.task import Task
from visionkit.models.transfer import start_from
from visionkit.open_model import open_task
from visionkit.types import BOX_TASKS, DataError, plain
from visionkit.weights.cards import CARDS
from visionkit.weights.load import load_weights

BACKBONE = "efficientnet_lite0"
LR, LR_OF_START = 1e-3, 3e-4  # peak rates by default; a trained model forgets at the higher one


def training_data(
    data: Path,
    task: str,
    seed: int,
    classes: Path | None = None,
    void: int | None = None,
    learn_from: str | None = None,
) -> tuple[Dataset, Dataset | None]:
    """(train, val): the samples to learn from, and those that choose the best epoch, None to keep the last epoch.

    By default the splits train (or trainval) and val do what their names say, and test is never learned from. Where
    there is no val split, a test split gives the honest score, so nothing is held back and the last epoch is kept;
    without either, a fifth of the images, drawn by `seed`, is held back.

    Args:
        task, classes, void: see `open_dataset`.
        learn_from: the splits to learn from, such as "train+val"; val chooses the epoch unless it is among them.

    Raises:
        DataError: there is no such split, test is to be learned from, there is a test split but none to learn from, or
            a single image; or see `open_dataset`.
    """
    read = partial(open_dataset, data, task=task, classes=classes, void=void)
    names = splits(data, task)
    if learn_from:
        _check_parts(data, learn_from, names)
    used = learn_from or named_part(names)
    if used and "val" in names and not {"val", "trainval"} & set(used.split("+")):
        train, val = read(used), read("val")
        print(f"{train.source}: training on {used}, choosing the best epoch on val")
    elif used and (learn_from or "test" in names):
        train, val = read(used), None
        print(f"{train.source}: training on {used} and keeping the last epoch")
    elif "test" in names:
        raise DataError(f"{data}: has the splits {', '.join(names)}; rename the one to learn from to train or trainval")
    else:
        whole = read(used)
        if len(whole) < 2:
            raise DataError(f"{data}: holds one image; training needs at least one more, to be scored on")
        train, val = _held_back(whole, seed)
        held = f"{len(val)} of {len(whole)}"
        print(f"{whole.source}: no val split, so {held} images are held back to choose the best epoch")
    if task in BOX_TASKS:
        check_objects(train.records, data)
    if "test" in names:
        print(f"score it with: {_command_of_test(data, classes, void)}")
    return train, val


def learned_part(
    data: Path,
    task: str,
    seed: int = 0,
    classes: Path | None = None,
    void: int | None = None,
    learn_from: str | None = None,
) -> Dataset:
    """What `training_data` gives to learn from, without a word about it. Arguments and errors: see there."""
    names = splits(data, task)
    used = learn_from or named_part(names)
    whole = open_dataset(data, used, task, classes, void, Repairs(str(data)))
    by_name = used and (learn_from or "test" in names or ("val" in names and used == "train"))
    return whole if by_name or len(whole) < 2 else _held_back(whole, seed)[0]


def named_part(names: Sequence[str]) -> str | None:
    """The split that is learned from by default."""
    return next((name for name in ("train", "trainval") if name in names), None)


def _held_back(whole: Dataset, seed: int) -> tuple[Dataset, Dataset]:
    """(train, val): val is a fifth of the images, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(len(whole))
    held = max(1, len(whole) // 5)
    return whole.subset(sorted(order[held:])), whole.subset(sorted(order[:held]))


def _check_parts(data: Path, learn_from: str, names: Sequence[str]) -> None:
    for part in learn_from.split("+"):
        if part not in names:
            raise DataError(
                f"--learn-from {learn_from}: {data} has no split {part!r}; it has {', '.join(names) or 'none'}"
            )
        if part == "test":
            raise DataError(f"--learn-from {learn_from}: what is learned from gives no honest score; leave test out")


def _command_of_test(data: Path, classes: Path | None, void: int | None) -> str:
    words = ["visionkit", "evaluate", "RUN", str(data), "--split", "test"]
    if classes is not None:
        words += ["--classes", str(classes)]
    if void is not None:
        words += ["--void", str(void)]
    return shlex.join(words)


def network_size(dataset: Dataset, long_side: int, multiple: int = 32) -> tuple[int, int]:
    """(height, width) of the network's input: with the images' median aspect ratio, so that little of it is padding.

    Both are multiples of `multiple`, and at least 32. With multiples of 32, on which detectors rely, every level of a
    backbone lies exactly over the next finer one.
    """
    aspect = float(np.median([h / w for h, w in (record.image_size for record in dataset.records)]))
    height, width = (long_side, long_side / aspect) if aspect > 1 else (long_side * aspect, long_side)
    return max(32, round(height / multiple) * multiple), max(32, round(width / multiple) * multiple)


def check_model(model: str, *tasks: str) -> None:
    """Raises a DataError unless `model` is a name in `MODELS` of a model for one of the tasks."""
    if model not in MODELS:
        raise DataError(f"model {model!r}: no such model{nearest(model, MODELS)}")
    task = getattr(MODELS[model], "task", tasks[0])  # the user's own may be a function, which does not tell
    if task not in tasks:
        raise DataError(f"model {model!r} is for the task {task}, not {tasks[0]}; name another, or give --task {task}")


def augmented(augment: dict[str, Any] | None, size: tuple[int, int], resize: str) -> Augment | None:
    """The training transform of an albumentations pipeline, or None without one.

    Raises:
        DataError: the pipeline is not one of albumentations, or cannot be kept in step with boxes and masks.
    """
    return None if augment is None else Augment(pipeline_of(augment), size, resize)


def peak_rate(lr: float | None, start: str | None) -> float:
    """The peak learning rate: `lr`, or where it is None what suits a pretrained backbone or a trained model `start`."""
    if lr is not None:
        return lr
    return LR if start is None else LR_OF_START


def refuse_with_start(start: str, **options: tuple[Any, Any]) -> None:
    """Raises a DataError for an option that a trained model decides itself.

    Args:
        start: the trained model.
        options: name of the option -> (its value, its default).
    """
    for name, (value, default) in options.items():
        if value != default:
            raise DataError(f"--{name} {value}: --from {start} brings its own; leave one of the two out")


def backbone_of(name: str, dilated: bool = False) -> keras.Model:
    """The backbone `name`, with weights still to be loaded if `is_published`; its dilated form, if wanted and there.

    Raises:
        DataError: it has no published ImageNet weights and is not the user's own; lists those that there are.
    """
    if name not in BACKBONES or not (is_published(name) or _is_the_users(BACKBONES[name])):
        known = [backbone for backbone in BACKBONES if is_published(backbone) or _is_the_users(BACKBONES[backbone])]
        raise DataError(f"no pretrained backbone {name!r}; there are {', '.join(known)}")
    return DILATED[name]() if dilated and name in DILATED else BACKBONES[name]()


def pretrained(name: str, dilated: bool = False) -> tuple[keras.Model, str]:
    """(backbone, licence): the backbone `name` with its ImageNet weights, or as the user's own function makes it.

    Raises:
        DataError: see `backbone_of` and `load_weights`.
    """
    backbone = backbone_of(name, dilated)
    if not is_published(name):
        return backbone, "unknown"
    load_weights(backbone, f"{name}_imagenet", verbose=False)
    return backbone, CARDS[f"{name}_imagenet"].licence


def is_published(name: str) -> bool:
    """Whether there are ImageNet weights for the backbone `name`."""
    return f"{name}_imagenet" in CARDS


def _is_the_users(make: Callable[..., keras.Model]) -> bool:
    """Whether a function in BACKBONES was added by the user, who knows where its weights come from."""
    return not getattr(make, "__module__", "").startswith("visionkit.")


def start_model(
    start: str,
    kinds: Sequence[type[Task]],
    kind: type[Task] | None,
    train: Dataset,
    size: tuple[int, int],
    renamed: Sequence[str],
    **changes: Any,
) -> Task:
    """The trained model `start`, rebuilt for the classes of `train`; prints which classes keep what they know.

    Args:
        start: the name of published weights, a run folder or a .keras file.
        kinds: what the start may be.
        kind: what is built, by default what the start is.
        train: its classes are the new model's.
        size: (height, width) of the new model's images.
        renamed: "person=pedestrian" for each class of the start that becomes a class of another name.
        changes: arguments of the model that are not as in the start.

    Raises:
        DataError: `start` is another kind of model or cannot be opened, or see `start_from`.
    """
    model = open_task(Path(start))
    if type(model) not in kinds:
        names = ", ".join(sorted(each.__name__ for each in kinds))
        raise DataError(f"--from {start}: is a {type(model).__name__}; expected one of {names}")
    pairs = {}
    for word in renamed:
        source, _, name = word.partition("=")
        if not source or not name:
            raise DataError(f"--map {word}: expected OLD=NEW, such as person=pedestrian")
        pairs[source] = name
    network, transfer = start_from(model, train.class_names, size, pairs, kind, **changes)
    print(f"from {start}:")
    print("\n".join(map(plain, str(transfer).split("\n"))))  # it quotes class names
    return network
