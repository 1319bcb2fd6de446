"""Draws docs/detections.jpg, the picture at the head of the README: photographs with what nanodet_g_coco finds in them.

    python tools/maintenance/readme_picture.py OUT.jpg PHOTO [PHOTO ...] [--score 0.4]

The weights are found as `visionkit detect nanodet_g_coco` finds them. The photographs stand side by side at one height.
"""

import argparse
from pathlib import Path

import numpy as np

import visionkit as vk
from visionkit.images import write_image
from visionkit.resizing import resize

HEIGHT = 320  # pixels of every photograph
GAP = 6  # white pixels between two


def main() -> None:
    """Finds objects in all photographs, prints them, and writes one picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path, nargs="+")
    parser.add_argument("--score", type=float, default=0.4, help="of the boxes that are drawn, at least")
    given = parser.parse_args()
    strip: list[np.ndarray] = []
    for photo, found in zip(given.photos, vk.open_predictor("nanodet_g_coco")(given.photos), strict=True):
        found = found[found.scores >= given.score]
        pairs = zip(found.labels, found.scores, strict=True)
        names = [f"{found.class_names[label]} {score:.2f}" for label, score in pairs]
        print(f"{photo.name}: {', '.join(names) or 'nothing'}")
        drawn = np.asarray(found.plot(score=given.score))
        width = round(drawn.shape[1] * HEIGHT / drawn.shape[0])
        strip += [resize(drawn, (HEIGHT, width)), np.full((HEIGHT, GAP, 3), 255, np.uint8)]
    write_image(given.out, np.concatenate(strip[:-1], axis=1))
    print(given.out)


if __name__ == "__main__":
    main()
