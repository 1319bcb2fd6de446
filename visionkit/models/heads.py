"""The classification heads of the papers: from a backbone's last feature map to logits.

A head is a function (features, num_classes, dropout) -> logits `[B, K]`. `HEADS` says which backbone's paper ends
with which; everything else ends with `pool_head`. The layers that know the classes are called `logits...`.
"""

from keras import layers


def pool_head(x, num_classes, dropout=0.0):
    """Global average pooling and one dense layer: ResNet, DenseNet, GoogLeNet; features may also be flat `[B, N]`."""
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="pool")(x)  # [B, C]
    if dropout:
        x = layers.Dropout(dropout, name="dropout")(x)
    return layers.Dense(num_classes, dtype="float32", name="logits")(x)


def efficientnet_lite_head(x, num_classes, dropout=0.2):
    """A last 1x1 convolution to 1280 channels (Table 1, stage 9) before the pooling."""
    x = layers.Conv2D(1280, 1, use_bias=False, kernel_initializer="he_normal", name="head_conv")(x)
    x = layers.BatchNormalization(momentum=0.97, epsilon=1e-3, name="head_bn")(x)
    return pool_head(layers.ReLU(6, name="head_relu")(x), num_classes, dropout)


HEADS = {
    "efficientnet_lite0": efficientnet_lite_head,
    "efficientnet_lite1": efficientnet_lite_head,
    "efficientnet_lite2": efficientnet_lite_head,
}
