"""What a person may write for MODEL on the command line, and what it becomes."""

from pathlib import Path

from visionkit.types import DataError


def keras_path(model: Path) -> Path:
    """The .keras file that MODEL, a run folder or the file itself, stands for."""
    file = model / "model.keras" if model.is_dir() else model
    if file.suffix == ".keras" and file.is_file():
        return file
    if model.is_dir():
        raise DataError(f"{model}: holds neither model.keras nor a SavedModel; a run has one when its training is over")
    raise DataError(f"{model}: expected a run folder, a .keras file or an exported SavedModel; there is no such file")


def open_predictor(model: Path, batch_size: int = 8):
    """A Predictor of a run folder, a .keras file or a SavedModel. Nothing in the files is executed as Python."""
    exported = (model / "saved_model.pb").is_file()
    file = model if exported else keras_path(model)  # a wrong path is found before TensorFlow is loaded

    from visionkit.export import keras_file, saved_model
    from visionkit.predict.predictor import Predictor

    return Predictor(saved_model.load(file) if exported else keras_file.load(file), batch_size=batch_size)
