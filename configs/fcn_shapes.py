"""FCN-8s on EfficientNet-Lite0, on drawn discs, rectangles, triangles and stars; it needs no data.

Run:      visionkit train configs/fcn_shapes.py
Reached:  not yet measured.
"""

from visionkit.data.shapes import shape_maps
from visionkit.data.transforms import segmentation_train
from visionkit.recipes.segment import segmenter
from visionkit.train.recipe import Recipe


def recipe(
    images: int = 400,
    val_images: int = 50,
    image_size: int = 192,
    lr: float = 1e-3,
    epochs: int = 12,
    batch_size: int = 16,
    seed: int = 0,
) -> Recipe:
    """`images` to learn from and `val_images` to be scored on, all with sides of `image_size` pixels."""
    size = (image_size, image_size)
    train = shape_maps(images, size, seed, "train")
    val = shape_maps(val_images, size, seed, "val")
    transform = segmentation_train(size, scale=(0.75, 1.5), vertical_flip=0.5)
    return segmenter(train, val, transform, lr=lr, epochs=epochs, batch_size=batch_size, seed=seed)
