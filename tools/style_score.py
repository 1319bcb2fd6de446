"""A style network beside optimisation on unseen photos: python tools/style_score.py RUN PAINTING PHOTOS [SIZE]

For every photo, at a long side of 256 pixels by default: the style and content loss of the network's picture, and of
200 steps of L-BFGS at that size, both against the painting at that size; and the network's seconds a picture. The
style is the one named like the painting.
"""

import sys
import time
from pathlib import Path

import numpy as np

from visionkit.images import find_images, read_image
from visionkit.open_model import keras_path, open_features, open_style_network


def main():
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    size, painting = int((sys.argv[4:] or [256])[0]), Path(sys.argv[2])
    model, features = open_style_network(keras_path(Path(sys.argv[1]))), open_features("vgg16_hed_bsds500")
    from visionkit.style import optimise
    from visionkit.style.canvas import Canvas, Weights
    from visionkit.style.folder import choose
    from visionkit.style.stylizer import Stylizer

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
            canvas = Canvas(features, *images, [style], [1.0], Weights())
            canvas.compile()
            return canvas.measure()

        one, other = losses(painted), losses(optimise.paint(photo, [style], features, size=size, steps=200))
        ratios.append(one["style"] / other["style"])
        print(
            f"{file.name:24} network: style {one['style']:.4f} content {one['content']:.3f} {seconds:.3f} s | "
            f"200 steps: style {other['style']:.4f} content {other['content']:.3f} | ratio {ratios[-1]:.2f}",
            flush=True,
        )
    print(f"mean ratio of the style losses {np.mean(ratios):.2f}, largest {max(ratios):.2f}")


if __name__ == "__main__":
    main()
