"""Saves a model whole or not at all."""

from pathlib import Path
from typing import Any

import keras

from visionkit.files import whole_file


def save_model(model: keras.Model, file: Path) -> None:
    """Writes a Task as a .keras file, without its optimizer.

    Mixed precision and synchronisation between devices belong to the training: the saved model computes in float32, on
    one device.

    Args:
        model: a `Task`; it is built anew from its config, and given the weights that it has now.

    Raises:
        DataError: the file could not be written.
    """
    bare = type(model).from_config(_plain(model.get_config()))
    bare.set_weights(model.get_weights())
    with whole_file(file, sync=True) as path:
        bare.save(path)


def _plain(config: Any) -> Any:
    """A config with float32 in place of every mixed precision, and no batch norm that is synchronised over devices."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"]["name"].startswith("mixed_"):
            return config | {"config": config["config"] | {"name": "float32"}}
        return {key: False if key == "synchronized" else _plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_plain(value) for value in config)
    return config
