"""Writing a model so that it is there whole or not at all."""

from pathlib import Path

import keras

from visionkit.files import whole_file


def save_model(model: keras.Model, file: Path) -> None:
    """Writes a Task as a .keras file, without its optimizer: as it was built, with the weights that it has.

    Mixed precision and what devices tell each other belong to the training: the saved model computes in float32, alone.
    """
    bare = type(model).from_config(_plain(model.get_config()))
    bare.set_weights(model.get_weights())
    with whole_file(file, sync=True) as path:
        bare.save(path)


def _plain(config):
    """A config with float32 for every mixed precision in it, and no batch norm that asks other devices."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"]["name"].startswith("mixed_"):
            return config | {"config": config["config"] | {"name": "float32"}}
        return {key: key != "synchronized" and _plain(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_plain(value) for value in config)
    return config
