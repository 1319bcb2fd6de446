"""Draws a contact sheet of photos painted like paintings.

    python tools/maintenance/style_sheet.py PHOTOS PAINTINGS OUT.jpg [--size 384 ...]

The single pictures are kept beside OUT, in a folder of the same name, and are not painted again if they exist. Further
options are passed on to `visionkit stylize`.
"""

import sys
from pathlib import Path

import numpy as np

from visionkit.cli import main as visionkit
from visionkit.image_files import find_images, relative_names
from visionkit.images import read_image, write_image
from visionkit.resizing import letterbox

CELL = (180, 240)  # (height, width) in the sheet


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    if "--preview" in sys.argv:
        sys.exit("--preview would leave pictures that look done; leave it out")
    photos, paintings, out = find_images(sys.argv[1]), find_images(sys.argv[2]), Path(sys.argv[3])
    named = dict(zip(photos + paintings, relative_names(photos) + relative_names(paintings), strict=True))
    named = {file: name.replace("/", "_") for file, name in named.items()}

    def cell(file):
        return letterbox(read_image(file), CELL, (255, 255, 255))[0]

    rows = [np.concatenate([np.full((*CELL, 3), 255, np.uint8), *map(cell, paintings)], axis=1)]
    for photo in photos:
        row = [cell(photo)]
        for painting in paintings:
            file = out.with_suffix("") / f"{named[photo]}_{named[painting]}.png"
            words = [str(photo), str(painting), "--out", str(file), *sys.argv[4:]]
            if not file.exists() and visionkit(["stylize", *words]):
                sys.exit(1)
            row.append(cell(file))
        rows.append(np.concatenate(row, axis=1))
        write_image(out, np.concatenate(rows))  # so that there is something to see
    print(out)


if __name__ == "__main__":
    main()
