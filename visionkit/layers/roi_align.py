"""RoIAlign as a layer, and the layer that runs a head on the pooled features."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from visionkit.ops.roi_align import roi_align
from visionkit.types import Tensor


@keras.saving.register_keras_serializable("visionkit")
class RoIAlign(layers.Layer):
    """Pools each box to `size` x `size` bins; see `ops.roi_align.roi_align` for the arguments.

    Call with features {"P2": `[B, h, w, C]`, ...} and boxes `[B, R, 4]`. Returns `[B, R, size, size, C]`.
    """

    def __init__(self, size: int, sampling_ratio: int = 2, aligned: bool = False, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # bfloat16 rounds boxes to 2 pixels from 256 on, to 4 from 512
        self.size = size
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def call(self, features: Mapping[str, Tensor], boxes: Tensor) -> Tensor:
        return roi_align(features, ops.stop_gradient(boxes), self.size, self.sampling_ratio, self.aligned)


@keras.saving.register_keras_serializable("visionkit")
class PerRegion(layers.Layer):
    """Runs a model on the R regions of each image, as one batch of B * R.

    Args:
        head: a model `[N, ...]` -> tensors `[N, ...]`.

    Call with `[B, R, ...]`; returns what `head` returns, each tensor `[B, R, ...]`.
    """

    def __init__(self, head: keras.Model, **kwargs: Any):
        super().__init__(**kwargs)
        self.head = head

    def call(self, pooled: Tensor, training: bool | None = None) -> Any:
        count = pooled.shape[1]
        outputs = self.head(ops.reshape(pooled, (-1, *pooled.shape[2:])), training=training)  # [B * R, ...]
        return keras.tree.map_structure(lambda x: ops.reshape(x, (-1, count, *x.shape[1:])), outputs)
