"""RoIAlign as a layer, and the layer that runs a head on what it pooled."""

import keras
from keras import layers, ops

from visionkit.ops.roi_align import roi_align


@keras.saving.register_keras_serializable("visionkit")
class RoIAlign(layers.Layer):
    """Pools each box to `size` x `size` bins; see `ops.roi_align.roi_align` for the arguments.

    Call with features {"P2": `[B, h, w, C]`, ...} and boxes `[B, R, 4]`. Returns `[B, R, size, size, C]`.
    """

    def __init__(self, size, sampling_ratio=2, aligned=False, **kwargs):
        super().__init__(autocast=False, **kwargs)  # half precision rounds boxes to 2 pixels from 256 on, to 4 from 512
        self.size, self.sampling_ratio, self.aligned = size, sampling_ratio, aligned

    def call(self, features, boxes):
        return roi_align(features, ops.stop_gradient(boxes), self.size, self.sampling_ratio, self.aligned)


@keras.saving.register_keras_serializable("visionkit")
class PerRegion(layers.Layer):
    """Runs a model on each of R regions of each image, as one batch of B * R.

    Args:
        head: a model `[N, ...]` -> tensors `[N, ...]`.

    Call with `[B, R, ...]`; returns what `head` returns, each tensor `[B, R, ...]`.
    """

    def __init__(self, head, **kwargs):
        super().__init__(**kwargs)
        self.head = head

    def call(self, pooled, training=None):
        count = pooled.shape[1]
        outputs = self.head(ops.reshape(pooled, (-1, *pooled.shape[2:])), training=training)  # [B * R, ...]
        return keras.tree.map_structure(lambda x: ops.reshape(x, (-1, count, *x.shape[1:])), outputs)
