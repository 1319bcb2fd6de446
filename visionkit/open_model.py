"""What a person may write for MODEL on the command line, and what it becomes."""

from pathlib import Path

from visionkit.types import DataError


def keras_file(model: Path) -> Path:
    """The .keras file that MODEL, a run folder or the file itself, stands for."""
    file = model / "model.keras" if model.is_dir() else model
    if file.suffix == ".keras" and file.is_file():
        return file
    if model.is_dir():
        raise DataError(f"{model}: holds no model.keras; a run folder has one when its training has finished")
    raise DataError(f"{model}: expected a run folder, a .keras file or an exported SavedModel; there is no such file")


def load_task(model: Path):
    """The Task in a run folder or .keras file. Nothing in the file is executed."""
    import keras

    import visionkit.models  # noqa: F401 (registers the classes that the file names)

    return keras.saving.load_model(keras_file(model), compile=False)


def open_predictor(model: Path, batch_size: int = 8):
    """Something that is called with images and yields Detections, of a run, a .keras file or a SavedModel."""
    from visionkit.export import saved_model
    from visionkit.predict.predictor import Predictor

    if (model / "saved_model.pb").is_file():
        return saved_model.load(model)
    return Predictor(load_task(model), batch_size=batch_size)
