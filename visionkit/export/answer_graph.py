"""From encoded images to answers about the originals, as TensorFlow ops: what a SavedModel does around its network.

This module imports TensorFlow: import it only where a model is exported.
"""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from visionkit.export import decode_graph
from visionkit.export.map_graph import maps
from visionkit.types import PADDING

Tensors = dict[str, Any]  # with the batch first


def answering_signatures(
    network: Any, answer: Callable, names: list[str], size: tuple[int, int], resize: str, channels: int
) -> dict[str, Any]:
    """The signatures `serving_default` and `serving_images` of a SavedModel; `saved_model` describes them.

    Args:
        network: what the Task's `serving()` gives.
        answer: one of `ANSWERS`.
        names: of the classes.
        size: (height, width) that the network takes.
        resize: a rule of `resizing.fit`.
        channels: 3, or 1 for a network for grey images.
    """
    class_names = tf.constant(names)

    def answer_fitted(fitted, original, new):
        """fitted float32 [B, h, w, 3]; original and new int32 [B, 2]: (height, width) before and after the resize."""
        outputs = dict(network(decode_graph.to_channels(fitted, channels), training=False))
        return answer(outputs, original, new, class_names)

    def read(data):
        image = decode_graph.decode_image(data)
        fitted, new = decode_graph.fit(image[None], size, resize)
        return fitted[0], tf.shape(image)[:2], new

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serving_default(image_bytes):
        specs = (tf.TensorSpec([*size, 3], tf.float32), tf.TensorSpec([2], tf.int32), tf.TensorSpec([2], tf.int32))
        return answer_fitted(*tf.map_fn(read, image_bytes, fn_output_signature=specs, parallel_iterations=4))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
    def serving_images(images):
        fitted, new = decode_graph.fit(images, size, resize)
        shape = tf.shape(images)
        original = tf.broadcast_to(shape[1:3], [shape[0], 2])
        return answer_fitted(fitted, original, tf.broadcast_to(new, [shape[0], 2]))

    return {"serving_default": serving_default, "serving_images": serving_images}


def detections(outputs: Tensors, original: Any, new: Any, names: Any) -> Tensors:
    """Boxes in pixels of the original and inside it, each with its class's name; a box beside the image is padding.

    Args:
        outputs: what `serving()` gives, in pixels of the network.
        original: int32 `[B, 2]`, (height, width) of the images before the resize.
        new: the same after it.
        names: string `[K]`, the class names.
    """
    outputs = dict(outputs)
    network_boxes = outputs["boxes"]
    factor_yx = tf.cast(original, tf.float32) / tf.cast(new, tf.float32)  # [B, 2]
    whole = outputs["boxes"] * _as_corners(factor_yx)  # [B, M, 4]
    boxes = tf.clip_by_value(whole, 0.0, _as_corners(tf.cast(original, tf.float32)))
    # A box in the letterbox's padding has no area left after the clip.
    has_area = tf.reduce_all(boxes[:, :, :2] < boxes[:, :, 2:], axis=-1)
    real = (outputs["labels"] != PADDING) & has_area  # [B, M]
    outputs["boxes"] = tf.where(real[:, :, None], boxes, 0.0)
    outputs["scores"] = tf.where(real, outputs["scores"], 0.0)
    outputs["labels"] = tf.where(real, outputs["labels"], PADDING)
    if "masks" in outputs:
        outputs["mask_boxes"] = tf.where(real[:, :, None], whole, 0.0)
    if "heatmaps" in outputs:
        outputs["heatmap_boxes"] = network_boxes
    order = tf.argsort(outputs["scores"], direction="DESCENDING", stable=True)  # [B, M]
    outputs = {name: tf.gather(values, order, batch_dims=1) for name, values in outputs.items()}
    outputs["class_names"] = tf.gather(tf.concat([[""], names], axis=0), outputs["labels"] + 1)
    outputs["image_size"] = original
    if "heatmaps" in outputs:
        outputs["heatmap_scale"] = factor_yx[:, ::-1]
    return outputs


def classes(outputs: Tensors, original: Any, new: Any, names: Any) -> Tensors:
    """The probabilities, and the best class with its name; arguments as for `detections`."""
    scores = outputs["scores"]
    label = tf.argmax(scores, axis=-1, output_type=tf.int32)  # [B]
    return {"scores": scores, "label": label, "class_name": tf.gather(names, label), "image_size": original}


# By an output that only this kind of network has.
ANSWERS: dict[str, Callable[[Tensors, Any, Any, Any], Tensors]] = {
    "boxes": detections,
    "scores": classes,
    "probabilities": maps,
}


def _as_corners(yx):
    """`[B, 2]` y, x -> `[B, 1, 4]` x, y, x, y, to go with boxes `[B, M, 4]`."""
    return tf.tile(yx[:, ::-1], [1, 2])[:, None]
