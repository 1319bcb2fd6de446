"""What a person may write for MODEL on the command line, and what it becomes."""

import hashlib
from pathlib import Path

from visionkit.environment import import_keras_quietly
from visionkit.types import DataError


def keras_path(model: Path) -> Path:
    """The .keras file that MODEL, a run folder or the file itself, stands for."""
    file = model / "model.keras" if model.is_dir() else model
    if file.suffix == ".keras" and file.is_file():
        return file
    if model.is_dir():
        raise DataError(f"{model}: holds neither model.keras nor an export; a run has one when its training is over")
    raise DataError(
        f"{model}: expected a run folder, a .keras file or an exported model, or a name of visionkit weights list"
    )


def open_predictor(model: Path, batch_size: int = 8):
    """A Predictor of a run folder, a .keras file, an export in its runtime, or a card's name.

    No Python in the files is executed.
    """
    if not model.exists() and not model.suffix and (card := _card(str(model))):
        return _published(card, batch_size)
    from visionkit.export import keras_file
    from visionkit.export.exported import FILE, read_metadata
    from visionkit.export.load import load_exported
    from visionkit.predict.predictor import Predictor

    if (model / FILE).is_file():
        if read_metadata(model)["exporter"] in ("keras_file", "saved_model"):
            import_keras_quietly()  # the other runtimes do without
        return Predictor(load_exported(model), batch_size=batch_size)
    file = keras_path(model)  # a wrong path is found before TensorFlow is loaded
    import_keras_quietly()
    return Predictor(keras_file.load(file), batch_size=batch_size)


def open_features(name: str):
    """What `style` looks at pictures with: the frozen levels of a VGG with the published weights `name`."""
    card = _card(name)
    if card is None or not card.architecture.startswith("vgg"):
        raise DataError(f"{name}: expected published weights of a VGG; see visionkit weights list")
    import_keras_quietly()
    from visionkit.backbones import BACKBONES
    from visionkit.style.losses import take_features
    from visionkit.weights.load import load_weights

    backbone = BACKBONES[card.architecture]()
    load_weights(backbone, name, verbose=False)
    return take_features(backbone)


def open_style_network(file: Path):
    """The StyleNetwork in a .keras file."""
    import_keras_quietly()
    from visionkit.export import keras_file
    from visionkit.style.network import StyleNetwork

    model = keras_file.load_task(file)
    if not isinstance(model, StyleNetwork):
        raise DataError(f"{file}: a {type(model).__name__}; expected a style network, see configs/style_network.py")
    return model


def _card(name: str):
    from visionkit.weights.cards import CARDS

    return CARDS.get(name)


def _published(card, batch_size):
    import_keras_quietly()
    from visionkit.predict.predictor import Predictor
    from visionkit.weights.cards import imagenet_classes
    from visionkit.weights.classifiers import published_classifier

    if card.classes == "coco":
        from visionkit.weights.detectors import load_detector

        return Predictor(load_detector(card.name, verbose=False), batch_size=batch_size)
    if card.classes == "voc":
        from visionkit.weights.segmenters import load_segmenter

        return Predictor(load_segmenter(card.name, verbose=False), batch_size=batch_size)
    predictor = Predictor(published_classifier(card), batch_size=batch_size)
    if card.classes == "imagenet":  # its folders are named by WordNet id: n02123045 is the tabby cat
        predictor.synonyms = {wordnet_id: k for k, (wordnet_id, _) in enumerate(imagenet_classes())}
    return predictor


def made_by(model: Path) -> str:
    """What tells MODEL from others and from its own earlier self: its path, its files' sizes and times of change."""
    file = model / "model.keras"
    files = [file] if file.is_file() else [f for f in sorted(model.rglob("*")) if f.is_file()] or [model]
    found = [f"{model.absolute()}"]
    for file in files:
        stat = file.stat() if file.is_file() else None  # the name of published weights is no file
        found.append(f"{file}" if stat is None else f"{file} {stat.st_size} {stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()[:16]
