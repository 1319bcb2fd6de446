"""The model as one `.keras` file in a folder: for machines that have visionkit, without the optimizer's state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from visionkit.export.answers import Answer
from visionkit.export.exported import refuse_style, write_metadata
from visionkit.export.keras_check import check_keras_file, weights_below
from visionkit.predict.inputs import Failure
from visionkit.types import DataError, in_words

NAME = "model.keras"  # as in a run folder, so that an export can be used like one
paints = True


def save(model: Any, folder: Path | str) -> None:
    """Writes `folder/model.keras`."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / NAME, include_optimizer=False)
    write_metadata(model, "keras_file", folder)


def load(folder: Path | str) -> Any:
    """Loads the Task in `folder/model.keras`, or in a .keras file, for a Predictor, on whatever backend Keras runs.

    Raises:
        DataError: there is no such file, Keras cannot read it, it is above one of the `limits`, or it holds a style
            network.
    """
    model = load_task(folder)
    refuse_style(model.task, folder)
    return model


def load_task(folder: Path | str) -> Any:
    """As `load`, but of any Task, also a style network."""
    import keras

    # Keras knows the classes named in a file only once their modules are imported.
    from visionkit.models import MODELS  # noqa: F401
    from visionkit.style import network  # noqa: F401

    file = Path(folder) / NAME if Path(folder).is_dir() else Path(folder)
    if not file.is_file():
        raise DataError(f"{file}: no such file; expected a .keras file or a folder that holds {NAME}")
    try:
        with weights_below(check_keras_file(file)):
            return keras.saving.load_model(file, compile=False)
    except Exception as error:  # KeyError, RecursionError, MemoryError: a config can make Keras raise anything
        reason = str(error).strip()
        if isinstance(error, RecursionError):
            reason = f"its configuration is {in_words(error)}"
        elif not isinstance(error, ValueError | TypeError | OSError):
            reason = f"{type(error).__name__}: {reason}"
        raise DataError(f"{file}: cannot be loaded: {reason}") from error


def predict_alone(folder: Path | str, files: Sequence[Path]) -> list[Answer | str]:
    """Runs the written file on image files, in this process; for each its answer, or what was wrong with the image."""
    from visionkit.export.painter import predictor_of

    answers = predictor_of(load_task(folder))(list(files), failures="yield")
    return [answer.error if isinstance(answer, Failure) else answer for answer in answers]
