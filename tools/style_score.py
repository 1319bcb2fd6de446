"""A style network beside optimisation on unseen photos: python tools/style_score.py RUN PAINTING PHOTOS [SIZE]

For every photo, at a long side of 256 pixels by default: the losses of the picture that the network paints, and of 200
steps of L-BFGS at that size with the weights that the network learned by, both against the painting at that size; and
the network's seconds a picture. The style is the one named like the painting.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from visionkit.images import find_images, read_image
from visionkit.open_model import keras_path, open_features, open_style_network


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    run, painting, size = Path(sys.argv[1]), Path(sys.argv[2]), int((sys.argv[4:] or [256])[0])
    knobs = json.loads((run / "knobs.json").read_text())
    model, features = open_style_network(keras_path(run)), open_features(knobs["features"])
    from visionkit.style import optimise
    from visionkit.style.canvas import Canvas, Weights
    from visionkit.style.folder import choose
    from visionkit.style.stylizer import Stylizer

    weights = Weights(**{name: knobs[f"{name}_weight"] for name in ("content", "style", "smooth")})
    stylizer, shares = Stylizer(model), choose(model.class_names, painting.stem, None)
    style, ratios = optimise.scaled(read_image(painting), size), []
    optimise.COARSEST = size  # no coarser sizes: 200 steps are 200 steps
    for file in find_images(sys.argv[3]):
        photo = optimise.scaled(read_image(file), size)
        stylizer(photo, shares)  # compiled now
        start = time.perf_counter()
        painted = stylizer(photo, shares)
        seconds = time.perf_counter() - start

        def losses(picture, photo=photo):
            images = (np.asarray(image, np.float32) for image in (picture, photo))
            canvas = Canvas(features, *images, [style], [1.0], weights)
            canvas.compile()
            return canvas.measure()

        optimised = optimise.paint(photo, [style], features, size=size, steps=200, weights=weights)
        one, other = losses(painted), losses(optimised)
        ratios.append([one[name] / other[name] for name in ("style", "loss")])
        print(f"{file.name}: network {_said(one)}, {seconds:.3f} s | 200 steps {_said(other)}", flush=True)
    style, whole = np.mean(ratios, axis=0)
    print(f"network / 200 steps, mean of {len(ratios)} photos: style loss {style:.2f}, loss by weight {whole:.2f}")


def _said(losses):
    return ", ".join(f"{name} {losses[name]:.4f}" for name in ("style", "content", "loss"))


if __name__ == "__main__":
    main()
