"""Complete classifiers from published weights: a paper's network with its head, class names and normalisation."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from visionkit.backbones import BACKBONES
from visionkit.models import MODELS
from visionkit.models.task import Task
from visionkit.types import DataError
from visionkit.weights.cards import CARDS, Card
from visionkit.weights.load import load_weights, normalise_like
from visionkit.weights.torch_file import read_torch_file


def published_classifier(card: Card) -> Task:
    """The Classifier that a card describes.

    Raises:
        DataError: the card is of a backbone without a head, or its file is not available.
    """
    if not card.class_names:
        raise DataError(f"{card.name}: weights of a backbone without a classifier; fine-tune it first")
    model = _build(card.architecture, len(card.class_names), card)
    load_weights(model, card.name, verbose=False)
    return model


def classifier_of_file(file: Path, architecture: str, transform_input: bool | None = None) -> Task:
    """The Classifier in a torch checkpoint, with as many classes as its last bias has values.

    Normalisation, size, crop and (if their number agrees) class names are those of the published file of the same name,
    or otherwise of the first published file of that architecture.

    Args:
        file: .pth, .pt or .th with a state dict in torchvision's naming.
        architecture: a name in BACKBONES.
        transform_input: (GoogLeNet) whether torchvision's option of that name was on in training; see `preparation`.

    Raises:
        DataError: there is no such architecture, or the file holds no classifier of it, or see `preparation`.
    """
    if architecture not in BACKBONES:
        raise DataError(f"there is no network {architecture!r}; there are {', '.join(BACKBONES)}")
    biases = [tensor for name, tensor in read_torch_file(file).items() if name.endswith("bias") and tensor.ndim == 1]
    if not biases:
        raise DataError(f"{file}: holds no bias, so no classifier of {architecture}")
    card = preparation(file, architecture, transform_input)
    model = _build(architecture, len(biases[-1]), card)
    report = load_weights(model, file)
    not_loaded = [name for name in report.new + report.missing if name.startswith("logits.")]
    if not_loaded:
        raise DataError(f"{file}: holds no {not_loaded[0]}, so no classifier of {architecture}; fine-tune its backbone")
    if card:
        normalise_like(model, card)
    return model


def preparation(file: Path, architecture: str, transform_input: bool | None = None) -> Card | None:
    """The card that says how images are prepared for a checkpoint: its own, or the architecture's first.

    torchvision's GoogLeNet has an option `transform_input`, with which images become -1..1. It is on for the published
    checkpoint and for what starts from it, and off for what is trained from scratch; no checkpoint says which. None
    takes it to be on, and prints that for any file but the published one.

    Raises:
        DataError: `transform_input` is given for another architecture.
    """
    if transform_input is not None and architecture != "googlenet":
        raise DataError(f"--transform-input is an option of googlenet, not of {architecture}; leave it out")
    cards = [card for card in CARDS.values() if card.architecture == architecture and card.class_names]
    card = next((card for card in cards if card.file == file.name), cards[0] if cards else None)
    if card is None or architecture != "googlenet":
        return card
    if transform_input is None and card.file != file.name:
        print(
            f"{file}: taken as trained with torchvision's transform_input, as all that starts from its published "
            "weights is; if it was trained from scratch, give --no-transform-input"
        )
    usual = CARDS["resnet50_imagenet"]
    return replace(card, mean=usual.mean, std=usual.std) if transform_input is False else card


def _build(architecture: str, num_classes: int, card: Card | None) -> Task:
    options: dict[str, Any] = {}
    if card:
        assert card.image_size is not None  # it has classes
        options = {"image_size": card.image_size, "resize": f"crop {card.image_size[0]}/{card.resize}"}
        if len(card.class_names) == num_classes:
            options["class_names"] = card.class_names
    return MODELS["classifier"](BACKBONES[architecture](), num_classes, **options)
