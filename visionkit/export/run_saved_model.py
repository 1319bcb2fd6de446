"""Runs an exported SavedModel on image files as a stranger would: TensorFlow and numpy, nothing of visionkit.

    python run_saved_model.py SAVED_MODEL OUTPUT.npz < LIST.json

LIST.json is a JSON list of image files. OUTPUT.npz gets `NAME_I`, all outputs but the strings, for the I-th file, or
`error_I` where the graph refused it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main():
    folder, output = sys.argv[1:]
    model = tf.saved_model.load(folder)  # kept in a name: the signatures die with it
    answer = model.signatures["serving_default"]
    arrays = {}
    for i, file in enumerate(json.load(sys.stdin)):
        try:
            found = answer(image_bytes=tf.constant([Path(file).read_bytes()]))
        except tf.errors.OpError as error:
            arrays[f"error_{i}"] = np.array(error.message)
            continue
        arrays |= {f"{name}_{i}": value[0].numpy() for name, value in found.items() if value.dtype != tf.string}
    assert "visionkit" not in sys.modules, "the SavedModel was to run without visionkit"
    np.savez(output, **arrays)


if __name__ == "__main__":
    main()
