"""Runs an exported SavedModel on image files as a stranger would: with TensorFlow and numpy, without visionkit.

    python run_saved_model.py SAVED_MODEL OUTPUT.npz < LIST.json

LIST.json is a JSON list of image files. OUTPUT.npz gets `NAME_I`, each output of the I-th file that is not a string, or
`error_I` where the graph refused the file. A style network paints the I-th file in style I modulo K; its PNG file is
decoded into `painting_I`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf


def main():
    folder, output = sys.argv[1:]
    model = tf.saved_model.load(folder)  # kept in a variable: the signatures die with it
    answer = model.signatures["serving_default"]
    inputs = answer.structured_input_signature[1]
    arrays = {}
    for i, file in enumerate(json.load(sys.stdin)):
        given = {"image_bytes": tf.constant([Path(file).read_bytes()])}
        if "shares" in inputs:
            count = inputs["shares"].shape[1]
            given["shares"] = tf.one_hot([i % count], count)  # [1, K]
        try:
            outputs = answer(**given)
        except tf.errors.OpError as error:
            arrays[f"error_{i}"] = np.array(error.message)
            continue
        for name, value in outputs.items():
            if name == "png":
                painting = tf.io.decode_png(value[0]).numpy()
                arrays[f"painting_{i}"], arrays[f"image_size_{i}"] = painting, painting.shape[:2]
            elif value.dtype != tf.string:
                arrays[f"{name}_{i}"] = value[0].numpy()
    assert "visionkit" not in sys.modules, "the SavedModel was to run without visionkit"
    np.savez(output, **arrays)


if __name__ == "__main__":
    main()
