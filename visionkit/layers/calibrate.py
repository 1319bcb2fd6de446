"""The last layer of a calibrated model's serving graph."""

from typing import Any

import keras
from keras import layers, ops

from visionkit.score_curve import ScoreCurve
from visionkit.types import PADDING, Tensor


@keras.saving.register_keras_serializable("visionkit")
class Calibrate(layers.Layer):
    """Turns the scores, or the pixels' probabilities, in what a model answers into calibrated ones.

    Call with the outputs of `Task.serving()`. The order of detections stays as it is, because the curve rises strictly,
    and the scores of padding stay 0.

    Args:
        curve: a `ScoreCurve`, or its `to_json`.
    """

    def __init__(self, curve: Any, **kwargs: Any):
        kwargs.setdefault("dtype", "float32")  # under mixed precision too
        super().__init__(**kwargs)
        self.curve = curve if isinstance(curve, ScoreCurve) else ScoreCurve.from_json(curve)

    def call(self, outputs: dict[str, Tensor]) -> dict[str, Tensor]:
        name = "probabilities" if "probabilities" in outputs else "scores"
        calibrated = self.curve(outputs[name], ops)
        if "labels" in outputs:
            calibrated = ops.where(outputs["labels"] != PADDING, calibrated, 0.0)  # [B, M]
        return {**outputs, name: calibrated}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"curve": self.curve.to_json()}
