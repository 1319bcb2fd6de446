"""The model as one `.keras` file in a folder: for machines that have visionkit, with no optimizer state inside."""

from collections.abc import Sequence
from pathlib import Path

from visionkit.export.exported import write_metadata
from visionkit.predict.predictor import Failure, Prediction
from visionkit.types import DataError

NAME = "model.keras"  # as in a run folder, so that an export can be used like one


def save(model, folder: Path | str) -> None:
    """Writes `folder/model.keras`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / NAME, include_optimizer=False)
    write_metadata(model, "keras_file", folder)


def load(folder: Path | str):
    """The Task in `folder/model.keras`, or in a .keras file, on whatever backend Keras runs: for a Predictor.

    Raises:
        DataError: no such file, or one that Keras cannot read.
    """
    import keras

    # Keras knows the classes named in a file only once their modules are imported.
    from visionkit.models import MODELS  # noqa: F401

    file = Path(folder) / NAME if Path(folder).is_dir() else Path(folder)
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected a .keras file or a folder that holds {NAME}")
    try:
        return keras.saving.load_model(file, compile=False)
    except (ValueError, TypeError, OSError) as error:
        raise DataError(f"{file}: cannot be loaded: {error}") from error


def predict_alone(folder: Path | str, files: Sequence[Path]) -> list[Prediction | str]:
    """What the written file says of image files, or what was wrong with the image."""
    from visionkit.predict.predictor import Predictor

    return [r.error if isinstance(r, Failure) else r for r in Predictor(load(folder))(list(files))]
