"""Backbones by name: functions that return a `keras.Model` from images to {"Cn": features of stride 2**n}.

    >>> from visionkit.backbones import BACKBONES
    >>> backbone = BACKBONES["efficientnet_lite0"](input_shape=(None, None, 3))

Images are float32 `[B, H, W, C]` RGB 0..255; the first layer normalises them. `visionkit.models` puts heads on them,
`visionkit.weights.load_weights` fills them.
"""

from visionkit.backbones.efficientnet_lite import efficientnet_lite0, efficientnet_lite1, efficientnet_lite2

BACKBONES = {
    "efficientnet_lite0": efficientnet_lite0,
    "efficientnet_lite1": efficientnet_lite1,
    "efficientnet_lite2": efficientnet_lite2,
}
