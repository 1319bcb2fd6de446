"""Writing a model so that it is there whole or not at all."""

from pathlib import Path

import keras


def save_model(model: keras.Model, file: Path) -> None:
    """Writes a Task as a .keras file, without its optimizer: as it was built, with the weights that it has."""
    bare = type(model).from_config(model.get_config())
    bare.set_weights(model.get_weights())
    partial = file.with_name("partial.keras")
    bare.save(partial)
    partial.replace(file)
