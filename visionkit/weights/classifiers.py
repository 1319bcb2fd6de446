"""Complete classifiers from published weights: a paper's network with its head, class names and normalisation."""

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


def classifier_of_file(file: Path, architecture: str) -> Task:
    """The Classifier in a torch checkpoint, with as many classes as its last bias has values.

    Normalisation, size, crop and (if their number agrees) class names are those of the published file of the same name,
    or otherwise of the first published file of that architecture.

    Args:
        file: .pth, .pt or .th with a state dict in torchvision's naming.
        architecture: a name in BACKBONES.

    Raises:
        DataError: there is no such architecture, or the file holds no classifier of it.
    """
    if architecture not in BACKBONES:
        raise DataError(f"there is no network {architecture!r}; there are {', '.join(BACKBONES)}")
    biases = [tensor for name, tensor in read_torch_file(file).items() if name.endswith("bias") and tensor.ndim == 1]
    if not biases:
        raise DataError(f"{file}: holds no bias, so no classifier of {architecture}")
    cards = [card for card in CARDS.values() if card.architecture == architecture and card.class_names]
    card = next((card for card in cards if card.file == file.name), cards[0] if cards else None)
    model = _build(architecture, len(biases[-1]), card)
    report = load_weights(model, file)
    not_loaded = [name for name in report.new + report.missing if name.startswith("logits.")]
    if not_loaded:
        raise DataError(f"{file}: holds no {not_loaded[0]}, so no classifier of {architecture}; fine-tune its backbone")
    if card:
        normalise_like(model, card)
    return model


def _build(architecture: str, num_classes: int, card: Card | None) -> Task:
    options: dict[str, Any] = {}
    if card:
        assert card.image_size is not None  # it has classes
        options = {"image_size": card.image_size, "resize": f"crop {card.image_size[0]}/{card.resize}"}
        if len(card.class_names) == num_classes:
            options["class_names"] = card.class_names
    return MODELS["classifier"](BACKBONES[architecture](), num_classes, **options)
