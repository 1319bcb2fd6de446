"""What may be given as MODEL on the command line, and how it is opened."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from visionkit.by_name import alike
from visionkit.environment import import_keras_quietly
from visionkit.files import sha256_of
from visionkit.hub.address import is_address, parse
from visionkit.types import BOX_TASKS, DataError

if TYPE_CHECKING:  # the functions import what they need: `visionkit --help` must not load Keras
    import keras

    from visionkit.fast.choice import Runtime
    from visionkit.fast.model import FastModel
    from visionkit.models.task import Task
    from visionkit.predict.predictor import Predictor
    from visionkit.style.network import StyleNetwork
    from visionkit.weights.cards import Card


def keras_path(model: Path) -> Path:
    """The .keras file of a run folder or of a model on the Hugging Face Hub, or the given .keras file itself.

    Raises:
        DataError: `model` is none of these.
    """
    if is_address(model):
        from visionkit.hub.fetch import fetch

        return fetch(parse(model))
    file = model / "model.keras" if model.is_dir() else model
    if file.suffix == ".keras" and file.is_file():
        return file
    if model.is_dir():
        raise DataError(f"{model}: holds neither model.keras nor an export; a run has one once its training has ended")
    from visionkit.weights.cards import CARDS

    if str(model) in CARDS:
        raise DataError(f"{model}: published weights; a run folder, a .keras file or hf://OWNER/NAME is wanted here")
    close = alike(str(model), CARDS)
    hint = f"; did you mean {close!r}?" if close else ""
    raise DataError(
        f"{model}: expected a run folder, a .keras file, an exported model, hf://OWNER/NAME, or a name from visionkit "
        "weights list" + hint
    )


@contextmanager
def as_keras_file(model: Path) -> Iterator[Path]:
    """The .keras file of what `open_predictor` takes, but for exports; of published weights it is made for the block.

    Raises:
        DataError: `model` is none of these, or its weights are not on this machine and cannot be fetched.
    """
    if not model.exists() and (card := _card(str(model))):
        with _saved(card) as file:
            yield file
    else:
        yield keras_path(model)


def check_name(model: Path) -> None:
    """Finds a misspelt MODEL before anything is read: what `open_predictor` takes has to be there, or have a name.

    Raises:
        DataError: nothing is there, and no published weights have that name.
    """
    if is_address(model):
        parse(model)
    elif model.exists() or model.suffix or _card(str(model)) is None:
        from visionkit.export.exported import FILE

        if not (model / FILE).is_file():
            keras_path(model)


def open_predictor(
    model: Path | str | Task,
    batch_size: int = 8,
    trust: bool = False,
    runtime: Runtime = "keras",
    images: Callable[[], Sequence[Path]] = tuple,
) -> Predictor:
    """Opens a run folder, a .keras file, an export (in its own runtime), hf://OWNER/NAME or published weights by name.

    A model in memory is taken as well. hf://OWNER/NAME is a model on the Hugging Face Hub that `push` wrote; with
    @REVISION behind it, a branch, a tag or a commit.

    .keras files are loaded in Keras' safe mode, which executes no Python code in them. A SavedModel is a program for
    TensorFlow: before it is loaded its graph is looked through, and one that does more than compute is refused.

    Args:
        model: what to open.
        batch_size: images a step.
        trust: load a SavedModel that could read and write files too; see `export.graph_scan`.
        runtime: what runs a model that is no export: "keras", or "openvino" or "onnx", which give the same answers
            faster on CPUs. "auto" is the fastest for which the model has a form, or gets one now; the environment
            variable VISIONKIT_RUNTIME can say otherwise.
        images: gives the files that wait for the model; called only where it has no form yet. "auto" makes one for
            many files, and compares it with the model on some of them.

    Returns:
        A `Predictor`, which is called with images.

    Raises:
        DataError: `model` is none of these, cannot be loaded, or is a SavedModel that does more than compute.
    """
    if not isinstance(model, Path | str):
        from visionkit.predict.predictor import Predictor

        return Predictor(model, batch_size=batch_size)
    model = Path(model)
    if not model.exists() and not model.suffix and (card := _card(str(model))):
        return _fast_published(card, batch_size, runtime, images) or _published(card, batch_size)
    from visionkit.export import keras_file
    from visionkit.export.exported import FILE, read_metadata
    from visionkit.export.load import load_exported
    from visionkit.predict.predictor import Predictor

    if (model / FILE).is_file():
        if runtime not in ("auto", "keras"):
            raise DataError(f"{model}: an export, which runs in its own runtime; leave out --runtime {runtime}")
        if read_metadata(model)["exporter"] in ("keras_file", "saved_model"):
            import_keras_quietly()  # the other runtimes do not need it
        return Predictor(load_exported(model, trust), batch_size=batch_size)
    file = keras_path(model)  # first, so that a wrong path is reported before TensorFlow is loaded
    if runtime != "keras" and (fast := _fast(model, file, runtime, images)):
        return Predictor(fast, batch_size=batch_size)
    import_keras_quietly()
    return Predictor(keras_file.load(file), batch_size=batch_size)


def open_task(model: Path) -> Task:
    """Opens what `open_predictor` does, but for exports, as a Keras model that can be trained on.

    Raises:
        DataError: `model` is none of these, or cannot be loaded; an export holds no model that can be trained.
    """
    predictor = open_predictor(model)
    from visionkit.models.task import Task

    if not isinstance(predictor.model, Task):
        raise DataError(f"{model}: an export cannot be trained; name the run folder or the .keras file it came from")
    return predictor.model


def open_features(name: str) -> keras.Model:
    """The frozen levels of a VGG with the published weights `name`, in which `style` compares pictures.

    Raises:
        DataError: there are no such weights, or they are not of a VGG.
    """
    card = _card(name)
    if card is None or not card.architecture.startswith("vgg"):
        raise DataError(f"{name}: expected published weights of a VGG, see visionkit weights list")
    import_keras_quietly()
    from visionkit.backbones import BACKBONES
    from visionkit.style.losses import take_features
    from visionkit.weights.load import load_weights

    backbone = BACKBONES[card.architecture]()
    load_weights(backbone, name, verbose=False)
    return take_features(backbone)


def open_style_network(file: Path) -> StyleNetwork:
    """Loads the StyleNetwork in a .keras file.

    Raises:
        DataError: the file cannot be loaded or holds another model.
    """
    import_keras_quietly()
    from visionkit.export import keras_file
    from visionkit.style.network import StyleNetwork

    model = keras_file.load_task(file)
    if not isinstance(model, StyleNetwork):
        raise DataError(f"{file}: a {type(model).__name__}; expected a style network, see configs/style_network.py")
    return model


def _card(name: str) -> Card | None:
    from visionkit.weights.cards import CARDS

    return CARDS.get(name)


def _fast(model: Path, file: Path, runtime: Runtime, images: Callable[[], Sequence[Path]]) -> FastModel | None:
    from visionkit.fast.kept import source_of
    from visionkit.fast.model import fast_model

    return fast_model(
        source=lambda: source_of(model if model.is_dir() else file),  # not hf://OWNER/NAME, which is no file
        runtime=runtime,
        size=lambda: file.stat().st_size,
        images=images,
        keras_file=lambda: nullcontext(file),
        open_task=lambda: open_task(file),
    )


def _fast_published(
    card: Card, batch_size: int, runtime: Runtime, images: Callable[[], Sequence[Path]]
) -> Predictor | None:
    if runtime == "keras":
        return None
    from visionkit.fast.kept import Source
    from visionkit.fast.model import fast_model
    from visionkit.predict.predictor import Predictor
    from visionkit.weights.store import find

    digest = f"{card.name} {card.sha256} {card.beside}"
    fast = fast_model(
        source=lambda: Source(name=card.name, digest=digest),
        runtime=runtime,
        size=lambda: find(card).stat().st_size,
        images=images,
        keras_file=lambda: _saved(card),
        open_task=lambda: _published(card, batch_size).model,
    )
    return None if fast is None else _with_synonyms(Predictor(fast, batch_size=batch_size), card)


@contextmanager
def _saved(card: Card) -> Iterator[Path]:
    """A .keras file of published weights, while the block runs."""
    model = _published(card, 1).model
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / "model.keras"
        model.save(file)
        yield file


def _published(card: Card, batch_size: int) -> Predictor:
    import_keras_quietly()
    from visionkit.predict.predictor import Predictor
    from visionkit.weights.classifiers import published_classifier

    if card.task in BOX_TASKS:
        from visionkit.weights.detectors import load_detector

        return Predictor(load_detector(card.name, verbose=False), batch_size=batch_size)
    if card.classes == "voc":
        from visionkit.weights.segmenters import load_segmenter

        return Predictor(load_segmenter(card.name, verbose=False), batch_size=batch_size)
    return _with_synonyms(Predictor(published_classifier(card), batch_size=batch_size), card)


def _with_synonyms(predictor: Predictor, card: Card) -> Predictor:
    from visionkit.weights.cards import imagenet_classes

    if card.classes == "imagenet":  # ImageNet's folders are named by WordNet id: n02123045 is the tabby cat
        predictor.synonyms = {wordnet_id: k for k, (wordnet_id, _) in enumerate(imagenet_classes())}
    return predictor


def content_digest(model: Path) -> str:
    """A fingerprint of what MODEL holds, the same on every machine and under every path: 16 hexadecimal digits."""
    model, files = _files_of(model)
    if not files and not model.is_file():
        card = _card(str(model))
        lines = [f"{card.name} {card.sha256} {card.beside}" if card else str(model)]
    else:
        lines = [f"{file.relative_to(model).as_posix()} {sha256_of(file)}" for file in files or [model]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _files_of(model: Path) -> tuple[Path, list[Path]]:
    """MODEL, of the Hugging Face Hub its copy, and the files of a folder that make the model."""
    if is_address(model):
        from visionkit.hub.fetch import fetch

        model = fetch(parse(model), offline=True)
    from visionkit.guarantee.promise import FILE

    file = model / "model.keras"
    if file.is_file():
        return model, [file]
    return model, sorted(f for f in model.rglob("*") if f.is_file() and f.name != FILE)
