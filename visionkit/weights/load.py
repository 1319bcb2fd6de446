"""Fills a model with published weights and says what it did."""

from dataclasses import dataclass
from pathlib import Path

import keras

from visionkit.types import DataError
from visionkit.weights.cards import CARDS, Card
from visionkit.weights.convert import fit, our_layers, our_name
from visionkit.weights.store import find
from visionkit.weights.torch_file import read_torch_file


@dataclass(frozen=True)
class Report:
    """What `load_weights` did, as names: `loaded` and `missing` are ours (layer.weight), `skipped` the file's.

    `new` are weights that depend on the classes, where the file has other classes than the model.
    """

    loaded: tuple[str, ...]
    skipped: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self):
        rows = (
            ("loaded", self.loaded, ""),
            ("skipped", self.skipped, "in the file, not in the model: "),
            ("missing", self.missing, "in the model, not in the file: "),
            ("new", self.new, "other classes than the file's: "),
        )
        return "\n".join(
            f"  {what:8}{len(names):6}  {note + _few(names) if note and names else ''}".rstrip()
            for what, names, note in rows
        )


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

    The model's normalisation is set to the one the weights were trained with. The head's last layer keeps its
    initial values where the file has other classes.

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
    report = _assign(model, read_torch_file(file), architecture)
    total = len(report.loaded) + len(report.missing)
    if verbose or len(report.loaded) < min_loaded * total:
        print(f"{file.name} into {model.name}\n{report}")
    if len(report.loaded) < min_loaded * total:
        raise DataError(
            f"{file}: {len(report.loaded)} of the {total} weights of {model.name!r} found as {architecture}, "
            f"expected at least {min_loaded:.0%}; missing {_few(report.missing)}"
        )
    if card:
        _normalise_like(model, card)
    return report


def _assign(model, tensors, architecture):
    layers = our_layers(model)
    weights = {f"{name}.{w.name}": w for name, layer in layers.items() for w in layer.weights}
    loaded, skipped, new = [], [], []
    for name, array in tensors.items():
        layer_name, _, parameter = our_name(name, architecture).rpartition(".")
        if parameter == "num_batches_tracked":  # a counter that only torch keeps
            continue
        if layer_name not in layers:
            skipped.append(name)
            continue
        parameter, array = fit(array, parameter, layers[layer_name])
        ours = f"{layer_name}.{parameter}"
        if ours in weights and weights[ours].shape == array.shape:
            weights[ours].assign(array)
            loaded.append(ours)
        elif ours in weights and layer_name.startswith("logits"):
            new.append(ours)
        else:
            skipped.append(f"{name} {list(array.shape)}")
    missing = [name for name in weights if name not in {*loaded, *new}]
    return Report(tuple(loaded), tuple(skipped), tuple(missing), tuple(new))


def _normalise_like(model, card: Card):
    backbone = getattr(model, "backbone", model)
    layer = next((layer for layer in backbone.layers if layer.name == "normalize"), None)
    if layer is not None and len(layer.scale) == len(card.std):
        layer.scale = [1 / s for s in card.std]
        layer.offset = [-m / s for m, s in zip(card.mean, card.std, strict=True)]


def _few(names):
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
