"""Writing a model so that it is there whole or not at all."""

from pathlib import Path

import keras

from visionkit.train.checkpoint import write_whole


def save_model(model: keras.Model, file: Path) -> None:
    """Writes a Task as a .keras file, without its optimizer: as it was built, with the weights that it has.

    Mixed precision belongs to the training: the saved model computes in float32.
    """
    bare = type(model).from_config(_float32(model.get_config()))
    bare.set_weights(model.get_weights())
    write_whole(file, bare.save)


def _float32(config):
    """A config with float32 for every mixed precision in it."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy" and config["config"]["name"].startswith("mixed_"):
            return config | {"config": config["config"] | {"name": "float32"}}
        return {key: _float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(_float32(value) for value in config)
    return config
