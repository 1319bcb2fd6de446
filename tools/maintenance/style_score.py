"""Compares a style network with optimisation: python tools/maintenance/style_score.py RUN PAINTING PHOTOS

For every unseen photo, at a long side of 256 pixels, it measures the losses of the network's picture and of the picture
after 200 steps of L-BFGS at that size, both against the painting at that size, and the network's seconds for each
picture. Both are judged with the weights of the optimisation: those that the network was trained with, except for
--style-weight. The style is the one with the painting's name. --sheet draws the photos, below them the network's
pictures, and below those the results of the 200 steps.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from visionkit.image_files import find_images
from visionkit.images import read_image, write_image
from visionkit.open_model import keras_path, open_features, open_style_network
from visionkit.resizing import letterbox

SIZE = 256  # pixels of the long side
CELL = (192, 256)  # (height, width) in the sheet


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("run", "painting", "photos"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--style-weight", type=float, help="of the 200 steps; by default the network's own")
    parser.add_argument("--sheet", type=Path, metavar="FILE.jpg")
    options = parser.parse_args()
    knobs = json.loads((options.run / "knobs.json").read_text())
    if options.style_weight is not None:
        knobs["style_weight"] = options.style_weight
    model, features = open_style_network(keras_path(options.run)), open_features(knobs["features"])
    from visionkit.style import optimise
    from visionkit.style.canvas import LOSSES, Canvas, Weights
    from visionkit.style.folder import choose
    from visionkit.style.stylizer import Stylizer

    weights = Weights(**{name: knobs[f"{name}_weight"] for name in LOSSES})
    stylizer, shares = Stylizer(model), choose(model.class_names, options.painting.stem, None)
    style = optimise.scaled(read_image(options.painting), SIZE)
    ratios, columns = [], []
    optimise.COARSEST = SIZE  # no coarser sizes, so that 200 steps are 200 steps

    def losses(picture, photo):
        images = (np.asarray(image, np.float32) for image in (picture, photo))
        canvas = Canvas(features, *images, [style], [1.0], weights)
        canvas.compile()
        return canvas.measure()

    for file in find_images(options.photos):
        photo = optimise.scaled(read_image(file), SIZE)
        stylizer(photo, shares)  # the first call compiles
        start = time.perf_counter()
        painted = stylizer(photo, shares)
        seconds = time.perf_counter() - start

        optimised = optimise.paint(photo, [style], features, size=SIZE, steps=200, weights=weights)
        of_network, of_steps = losses(painted, photo), losses(optimised, photo)
        ratios.append([of_network[name] / of_steps[name] for name in ("style", "loss")])
        cells = [letterbox(picture, CELL, (255, 255, 255))[0] for picture in (photo, painted, optimised)]
        columns.append(np.concatenate(cells))
        print(
            f"{file.name}: network {_listed(of_network)}, {seconds:.3f} s | 200 steps {_listed(of_steps)}", flush=True
        )
    if options.sheet:
        write_image(options.sheet, np.concatenate(columns, axis=1))
    style_ratio, loss_ratio = np.mean(ratios, axis=0)
    print(
        f"network / 200 steps by style weight {weights.style:g}, mean of {len(ratios)} photos: "
        f"style loss {style_ratio:.2f}, loss by weight {loss_ratio:.2f}"
    )


def _listed(losses):
    return ", ".join(f"{name} {losses[name]:.4f}" for name in ("style", "content", "palette", "loss"))


if __name__ == "__main__":
    main()
