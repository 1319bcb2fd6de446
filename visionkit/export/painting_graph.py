"""What a style network's SavedModel does, as TensorFlow ops: encoded image files in, PNG files out.

This module imports TensorFlow: import it only where a model is exported.
"""

from typing import Any

import tensorflow as tf

from visionkit.export.decode_graph import decode_image
from visionkit.export.painter import MAX_PIXELS
from visionkit.style.network import STRIDE
from visionkit.style.stylizer import SMALLEST


def painting_signatures(network: Any, styles: int) -> dict[str, Any]:
    """The signature `serving_default` of a SavedModel; `saved_model` describes it.

    Args:
        network: what the StyleNetwork's `serving()` gives.
        styles: how many it has; a network with one takes no shares.
    """
    files = tf.TensorSpec([None], tf.string, name="image_bytes")
    if styles == 1:

        @tf.function(input_signature=[files])
        def paint_in_the_only_style(image_bytes):
            return _paint_all(network, image_bytes, tf.ones([tf.shape(image_bytes)[0], 1]))

        return {"serving_default": paint_in_the_only_style}

    @tf.function(input_signature=[files, tf.TensorSpec([None, styles], tf.float32, name="shares")])
    def paint_in_styles(image_bytes, shares):
        return _paint_all(network, image_bytes, shares)

    return {"serving_default": paint_in_styles}


def _paint_all(network, image_bytes, shares):
    png = tf.TensorSpec([], tf.string)
    pairs = (image_bytes, shares)
    # One at a time: a picture of 4 megapixels takes 3 GB.
    return {
        "png": tf.map_fn(lambda pair: _paint(network, *pair), pairs, fn_output_signature=png, parallel_iterations=1)
    }


def _paint(network, data, shares):
    """One encoded image file, and shares `[K]` -> one PNG file."""
    image = decode_image(data)
    size = tf.shape(image)[:2]
    limits = f"image_bytes: expected at least {SMALLEST} pixels a side and at most {MAX_PIXELS} in all; height, width:"
    good = (tf.reduce_min(size) >= SMALLEST) & (tf.reduce_prod(size) <= MAX_PIXELS)
    with tf.control_dependencies([tf.debugging.Assert(good, [limits, size])]):
        image = tf.cast(image, tf.float32)
    below, right = tf.unstack(tf.math.floormod(-size, STRIDE))
    image = tf.pad(image, [[0, below], [0, right], [0, 0]], mode="REFLECT")
    painted = network({"images": image[None], "shares": shares[None]}, training=False)[0]
    painted = tf.cast(tf.clip_by_value(tf.round(painted), 0.0, 255.0), tf.uint8)
    return tf.io.encode_png(painted[: size[0], : size[1]])
