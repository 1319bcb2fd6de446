"""Measures the sliding window of `segment --window` on photos: seams, time, memory. A maintenance script, not a verb.

python tools/maintenance/window_seams.py MODEL PHOTO PHOTO PHOTO PHOTO [PHOTO ...]

The photos, all of the network's size, are laid out as one large picture. For 2 x 2 of them, the probabilities of the
windows are compared with those of the same network built for the whole picture; then a picture of 3000 x 2000 pixels is
segmented.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from visionkit.environment import import_keras_quietly
from visionkit.images import read_image
from visionkit.open_model import keras_path
from visionkit.predict.window import windowed

LARGE = (2000, 3000)  # (height, width)


def main():
    parser = argparse.ArgumentParser(description="Seams, time and memory of the sliding window.")
    parser.add_argument("model", type=Path, help="the run folder or .keras file of a segmenter")
    parser.add_argument("photos", type=Path, nargs="+", help="of the network's size")
    options = parser.parse_args()
    import_keras_quietly()
    from visionkit.export import keras_file
    from visionkit.predict.predictor import Predictor

    model = keras_file.load(keras_path(options.model))
    photos, (h, w) = [read_image(file) for file in options.photos], model.image_size
    if any(photo.shape[:2] != (h, w) for photo in photos):
        parser.error(f"the photos must be {h} x {w} (height, width), as the network's input")

    def picture(rows, columns):
        """[rows * h, columns * w, 3]"""
        chosen = (photos[i % len(photos)] for i in range(rows * columns))
        return np.concatenate([np.concatenate([next(chosen) for _ in range(columns)], axis=1) for _ in range(rows)])

    image, network = picture(2, 2), model.serving()
    wider = type(model).from_config(model.get_config() | {"image_size": image.shape[:2]})
    wider.set_weights(model.get_weights())
    expected = probabilities(wider.serving(), image[None])[0]
    slid = np.concatenate(list(windowed(lambda x: probabilities(network, x), image, (h, w), 4)))
    tiles = [probabilities(network, np.stack(np.split(row, 2, axis=1))) for row in np.split(image, 2)]  # [2, h, w, K]
    tiles = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles])
    report("windows", slid, expected, w)
    report("tiles without overlap", tiles, expected, w)

    before, start = peak(), time.perf_counter()
    large = picture(-(-LARGE[0] // h), -(-LARGE[1] // w))[: LARGE[0], : LARGE[1]]
    segmentation = Predictor(model, batch_size=4, window=True)(large).segmentation
    seconds = time.perf_counter() - start
    print(f"{segmentation.shape} in {seconds:.1f} s, peak memory {peak():.0f} MB ({before:.0f} before)")


def probabilities(network, images):
    return np.asarray(network.predict_on_batch(images)["probabilities"])


def report(name, maps, expected, border):
    """Differences to the whole picture; and how far neighbours at the border differ, which a seam would raise."""
    difference = np.abs(maps - expected).max(axis=-1)
    step = [np.abs(np.diff(x, axis=1)).sum(axis=-1).mean(axis=0)[border - 1] for x in (maps, expected)]
    same = (maps.argmax(axis=-1) == expected.argmax(axis=-1)).mean()
    print(
        f"{name}: largest difference {difference.max():.3f}, mean {difference.mean():.4f}, same class {same:.1%}; ",
        end="",
    )
    print(f"step across the border {step[0]:.3f}, in the whole {step[1]:.3f}", flush=True)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
