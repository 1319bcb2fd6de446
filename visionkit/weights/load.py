"""Loads published weights into a model and reports what was loaded."""

from pathlib import Path
from typing import Any

import keras

from visionkit.models.task import Task
from visionkit.types import DataError
from visionkit.weights.cards import CARDS, Card
from visionkit.weights.convert import Report, assign, few
from visionkit.weights.hed import read_hed_file
from visionkit.weights.nanodet import read_nanodet_file
from visionkit.weights.store import find
from visionkit.weights.torch_file import read_torch_file

READERS = {".h5": read_hed_file, ".json": read_nanodet_file}  # by suffix; all other files are torch's


def load_weights(
    model: keras.Model,
    source: str | Path,
    *,
    architecture: str | None = None,
    min_loaded: float = 0.95,
    offline: bool = False,
    verbose: bool = True,
) -> Report:
    """Loads a published checkpoint into a backbone, or into a task model that holds one.

    The model's normalisation is set to the one that the weights were trained with, and a task's `licence` to theirs. If
    the file has other classes, the last layer of the head keeps its initial values. A model for grey images gets the
    sum of the RGB kernels.

    Args:
        model: its layers are found by name, also inside nested models.
        source: the name of a card (`CARDS`) or a torch file.
        architecture: for a file, the name in BACKBONES whose layout it has; by default the backbone's name.
        min_loaded: the share of the model's weights, 0..1, that must at least be found in the file.
        offline: do not use the network.
        verbose: print the table loaded / skipped / missing.

    Returns:
        What was loaded and what was not.

    Raises:
        DataError: the file is not available or unreadable, or fewer weights fit than `min_loaded`.
    """
    card = CARDS.get(str(source))
    if card is None and not Path(source).is_file():
        raise DataError(f"{source}: neither a file nor a card; the cards are {', '.join(CARDS)}")
    file = find(card, offline=offline) if card else Path(source)
    backbone: Any = getattr(model, "backbone", model)
    architecture = architecture or (card.architecture if card else str(backbone.name))
    tensors = READERS.get(file.suffix, read_torch_file)(file)
    report = assign(model, tensors, architecture)
    total = len(report.loaded) + len(report.missing)
    if verbose or len(report.loaded) < min_loaded * total:
        print(f"{file.name} into {model.name}\n{report}")
    if len(report.loaded) < min_loaded * total:
        raise DataError(
            f"{file}: {len(report.loaded)} of the {total} weights of {model.name!r} found as {architecture}, "
            f"expected at least {min_loaded:.0%}; missing {few(report.missing)}"
        )
    if card:
        normalise_like(model, card)
    if isinstance(model, Task):
        model.licence = card.licence if card else "unknown"
    return report


def normalise_like(model: keras.Model, card: Card) -> None:
    """Sets the model's input normalisation and its batch normalisation to those the card's weights were trained with.

    A grey model gets the average of the channels' means and of their deviations, which is only approximately the same.
    """
    backbone: Any = getattr(model, "backbone", model)
    if card.norm_epsilon is not None:
        for norm in backbone._flatten_layers():
            if isinstance(norm, keras.layers.BatchNormalization):
                norm.epsilon = card.norm_epsilon
    layer = next((layer for layer in backbone.layers if layer.name == "normalize"), None)
    if layer is None:
        return
    mean, std = card.mean, card.std
    if len(layer.scale) == 1:  # grey: the kernels are summed over RGB, see `convert.fit`
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    layer.scale = [1 / s for s in std]
    layer.offset = [-m / s for m, s in zip(mean, std, strict=True)]
