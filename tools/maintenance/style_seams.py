"""Measures a large picture painted in tiles: python tools/maintenance/style_seams.py RUN PHOTO [WIDTH HEIGHT]

Paints the photo, enlarged to 4000x3000 by default, twice, with tiles that are shifted by half a tile. The largest
difference between both is an upper bound for every seam. Also prints memory and time.
"""

import resource
import sys
import time
from pathlib import Path

import numpy as np

from visionkit.images import read_image
from visionkit.open_model import keras_path, open_style_network
from visionkit.resizing import resize


def main():
    if len(sys.argv) not in (3, 5):
        sys.exit(__doc__)
    width, height = map(int, sys.argv[3:] or (4000, 3000))
    model = open_style_network(keras_path(Path(sys.argv[1])))
    from visionkit.style.stylizer import Stylizer

    image = resize(read_image(sys.argv[2]), (height, width))
    start = time.monotonic()
    seams = Stylizer(model).seams(image, np.eye(model.num_classes, dtype=np.float32)[0])
    seconds, memory = time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{width}x{height}: seams at most {seams} of 255 grey levels, {memory:.2f} GB at most, {seconds:.0f} s for two"
    )


if __name__ == "__main__":
    main()
