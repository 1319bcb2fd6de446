"""Reads and writes a saved albumentations pipeline: only its own transforms, and nothing of the file is executed."""

import inspect
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from visionkit.by_name import nearest
from visionkit.data.albumentations_adapter import A, BaseCompose
from visionkit.data.augment import check_pipeline
from visionkit.data.keras_layers import KerasLayers, from_saved, is_keras
from visionkit.files import as_json
from visionkit.types import DataError

_LARGEST = 1_000_000  # bytes of a file
_MOST = 10_000  # values in a pipeline; more would be YAML whose aliases multiply
# By the name under which A.save writes them. A pipeline may hold nothing else.
KNOWN = {
    name: found
    for name, found in inspect.getmembers(A, inspect.isclass)
    if issubclass(found, A.BasicTransform | BaseCompose) and found.__module__.startswith("albumentations.")
}


def read_pipeline(file: Path | str) -> dict[str, Any]:
    """What `A.save(pipeline, file, data_format=...)` wrote, as JSON, or as YAML under a name in .yaml or .yml.

    Raises:
        DataError: the file cannot be read, or `pipeline_of` or `Augment` refuses it.
    """
    file = Path(file)
    try:
        if file.stat().st_size > _LARGEST:
            raise DataError(f"{file}: is larger than {_LARGEST:,} bytes; expected an albumentations pipeline")
        text = file.read_text(encoding="utf-8")
        saved = yaml.safe_load(text) if file.suffix.lower() in (".yaml", ".yml") else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{file}: cannot be read as a pipeline that albumentations saved ({reason})") from error
    try:
        check_pipeline(pipeline_of(saved))
    except DataError as error:
        raise DataError(f"{file}: {error}") from error
    return saved


def pipeline_of(saved: Any) -> Any:
    """The composition that `A.to_dict(composition)` describes, or the layers of Keras that `saved_form` saved.

    Raises:
        DataError: it holds something else, or an argument that a transform does not take.
    """
    of_keras = isinstance(saved, Mapping) and "keras" in saved
    if not of_keras and not (isinstance(saved, Mapping) and isinstance(saved.get("transform"), Mapping)):
        raise DataError('expected {"transform": ...}, as A.save writes it')
    _check_size(saved)
    if of_keras:
        return from_saved(saved).layers
    _check_names(saved["transform"])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # advice such as a better name for the same transform
            warnings.filterwarnings("error", "Argument", UserWarning)  # an argument that would be ignored
            return A.from_dict(dict(saved))
    except Exception as error:  # of pydantic, or whatever a constructor raises
        reason = " ".join(str(error).split())
        raise DataError(f"albumentations {A.__version__} does not take it: {reason[:300]}") from error


def saved_form(pipeline: Any) -> dict[str, Any]:
    """What stands for a pipeline among the knobs of a run: JSON, from which the run can be resumed.

    Args:
        pipeline: a composition or a transform, layers of Keras, the file of a pipeline, or what this function returned.

    Raises:
        DataError: it cannot be saved, as a Lambda cannot, or the file cannot be read.
    """
    if isinstance(pipeline, Path | str):
        return read_pipeline(pipeline)
    if is_keras(pipeline):
        saved = as_json(KerasLayers(pipeline).saved())
    elif isinstance(pipeline, Mapping):
        saved = dict(pipeline)
    else:
        try:
            saved = json.loads(json.dumps(A.to_dict(pipeline)))
        except Exception as error:  # whatever a transform raises that cannot be saved
            raise DataError(f"augmentation: cannot be saved: {error}") from error
    check_pipeline(pipeline_of(saved))
    return saved


def _check_size(saved: Any) -> None:
    pending, count = [saved], 0
    while pending:
        value = pending.pop()
        count += 1
        if count > _MOST:
            raise DataError(f"holds more than {_MOST:,} values; expected an albumentations pipeline")
        pending += value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()


def _check_names(transform: Any) -> None:
    name = transform.get("__class_fullname__") if isinstance(transform, Mapping) else None
    if not isinstance(name, str):
        raise DataError("holds a transform without __class_fullname__")
    if name not in KNOWN:
        raise DataError(f"{name[:80]!r} is no transform of albumentations {A.__version__}{nearest(name[:80], KNOWN)}")
    inner = transform.get("transforms", [])
    for each in inner if isinstance(inner, list) else [None]:
        _check_names(each)
