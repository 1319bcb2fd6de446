"""Fills a model with published weights and says what it did."""

from pathlib import Path

import keras

from visionkit.models.task import Task
from visionkit.types import DataError
from visionkit.weights.cards import CARDS, Card
from visionkit.weights.convert import Report, assign, few
from visionkit.weights.hed import read_hed_file
from visionkit.weights.nanodet import read_nanodet_file
from visionkit.weights.store import find
from visionkit.weights.torch_file import read_torch_file

READERS = {".h5": read_hed_file, ".json": read_nanodet_file}  # what else there is is torch's


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

    The model's normalisation is set to the one the weights were trained with, a task's `licence` to theirs. The head's
    last layer keeps its initial values where the file has other classes. A model for grey images gets RGB kernels
    summed.

    Args:
        model: its layers are found by name, also inside nested models.
        source: the name of a card (`CARDS`) or a torch file.
        architecture: for a file, the name in BACKBONES whose layout it has; by default the backbone's name.
        min_loaded: the least share of the model's weights that must be found.
        offline: never touch the network.
        verbose: print the table loaded / skipped / missing.

    Raises:
        DataError: the file cannot be had or read, or fewer weights fit than `min_loaded`.
    """
    card = CARDS.get(str(source))
    if card is None and not Path(source).is_file():
        raise DataError(f"{source}: neither a file nor a card; the cards are {', '.join(CARDS)}")
    file = find(card, offline=offline) if card else Path(source)
    architecture = architecture or (card.architecture if card else getattr(model, "backbone", model).name)
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
    """Gives the model's first layer, and its batch normalisation, what the card's weights were trained with.

    A grey model gets the mean of the channels' means and of their deviations, which is near, but not the same.
    """
    backbone = getattr(model, "backbone", model)
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
