"""A network that paints a photo in one pass (Johnson et al. 2016, arXiv 1603.08155), in one of several styles.

The second half of the paper's residual network, behind the frozen VGG that its content loss looks with: what it is to
keep of the photo it is given (an encoder as in Huang and Belongie 2017, arXiv 1703.06868, Figure 2), where the paper
learns strided convolutions; and beside it the photo's colours, to which that VGG is nearly blind. With what later work
found better: noise (Ulyanov et al. 2016, arXiv 1603.03417), instance normalisation (the same, 1607.08022), one scale
and shift a style (Dumoulin et al. 2017), nearest-neighbour doubling before a convolution in place of a transposed one,
reflection in place of zeros. The classes of this "task" are the styles, named like classes.
"""

import keras
import numpy as np
from keras import layers, ops

from visionkit.models.task import Task
from visionkit.style.canvas import LOSSES, Weights
from visionkit.style.layers import Grain, Moments, Reflect, Restyle, StyleOfRow
from visionkit.style.losses import (
    STYLE_LEVELS,
    content_loss,
    grams,
    palette,
    palette_loss,
    style_loss,
    total_variation,
    with_constants,
)

STRIDE = 4  # heights and widths that the network takes are multiples of it
PERIOD = 64  # pixels after which the grain that it paints on repeats


class StyleNetwork(Task):
    """images 0..255 `[B, H, W, 3]` -> "painted", the same, and "content", what the encoder saw in them.

    H and W are multiples of 4, at least 16. As a Task it paints row i of a batch in style i modulo K, which is how it
    learns them all alike; `serving()` takes the styles as an input. Before `fit` it needs `learn_from`.

    Args:
        encoder: `losses.take_features(backbone, CONTENT_LEVELS)`, frozen: images -> {"C2": `[B, H/4, W/4, C]`}.
        num_classes: styles, K.
        class_names: their names.
        image_size: (height, width) of the crops it is trained on; it paints pictures of any size.
        width: channels of the last layer but one; twice as many at half its size, four times at a quarter. The paper
            has 32. Time grows with the square.
        blocks: residual blocks; the paper has 5.
    """

    task = "style"

    def __init__(self, encoder, num_classes, class_names=(), image_size=(128, 128), width=24, blocks=5, **kwargs):
        encoder.trainable = False  # also when it comes out of a file
        network = _Network(encoder, num_classes, width, blocks)
        images = keras.Input((None, None, 3), name="images")
        shares = StyleOfRow(num_classes, name="style_of_row")(images)
        content = encoder(images)
        outputs = {"painted": network.paint(images, content, shares), "content": content}
        common = {"num_classes": num_classes, "class_names": class_names, "image_size": image_size}
        super().__init__(images, outputs, resize="stretch", **common, **kwargs)
        self.losses_mean = {name: keras.metrics.Mean(name=name) for name in LOSSES}
        object.__setattr__(self, "_network", network)  # past Keras' tracking, as is all that is not saved
        object.__setattr__(self, "_critic", None)

    @property
    def least_rows(self) -> int:
        """Of a batch, for each style to be in it."""
        return self.num_classes

    @property
    def halo(self) -> int:
        """Pixels around a place that its painted colour can depend on, once the moments are given."""
        return self._network.halo

    def learn_from(self, features: keras.Model, styles, weights: Weights) -> None:
        """Says what the network learns: to paint so that `features` see the styles.

        Args:
            features: of `losses.take_features`; not saved with the network.
            styles: K paintings, RGB uint8 `[h, w, 3]`, at the size at which their strokes are to appear.
            weights: of the losses.
        """
        seen = [grams(_float32(features.predict_on_batch(style[None].astype(np.float32)))) for style in styles]
        table = {level: np.concatenate([ops.convert_to_numpy(one[level]) for one in seen]) for level in STYLE_LEVELS}
        palettes = np.concatenate([ops.convert_to_numpy(palette(style[None].astype(np.float32))) for style in styles])
        object.__setattr__(self, "_critic", (with_constants(features), table, palettes, weights))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self._critic is None:
            raise ValueError("a StyleNetwork learns after learn_from(features, styles, weights)")
        features, table, palettes, weights = self._critic
        painted = y_pred["painted"]
        seen = features(painted)
        rows = ops.arange(ops.shape(painted)[0]) % self.num_classes
        targets = {level: ops.take(gram, rows, axis=0) for level, gram in table.items()}
        photos = ops.cast(x, "float32")
        losses = {
            "content": ops.mean(content_loss(_float32(seen), _float32(y_pred["content"]))),
            "style": ops.mean(style_loss(grams(seen), targets)),
            "smooth": ops.mean(total_variation(painted)),
            "palette": ops.mean(palette_loss(painted, photos, ops.take(palettes, rows, axis=0))),
        }
        for name, value in losses.items():
            self.losses_mean[name].update_state(value)
        return sum(getattr(weights, name) * value for name, value in losses.items())

    def serving(self) -> keras.Model:
        """{"images": `[B, H, W, 3]` 0..255, "shares": `[B, K]`} -> painted `[B, H, W, 3]` 0..255."""
        return keras.Model(*self._graph())

    def measuring(self) -> keras.Model:
        """As `serving`, but -> the moments of every layer, a list of `[1, 2, C]`, over the whole batch."""
        moments = []
        inputs, _ = self._graph(lambda x: moments.append(Moments(jointly=True)(x)) or moments[-1])
        return keras.Model(inputs, moments)

    def painting(self) -> keras.Model:
        """As `serving`, by given moments: takes "moments" besides, a list of `[B, 2, C]` such as `measuring` gives."""
        moments = [keras.Input((2, c), name=f"moments{i}") for i, c in enumerate(self._network.channels)]
        given = iter(moments)
        inputs, painted = self._graph(lambda x: next(given))
        return keras.Model(inputs | {"moments": moments}, painted)

    def _graph(self, moments=None):
        images, shares = keras.Input((None, None, 3), name="images"), keras.Input((self.num_classes,), name="shares")
        painted = self._network.paint(images, self._network.encoder(images), shares, moments)
        return {"images": images, "shares": shares}, painted


class _Network:
    """The layers, which three graphs share: they differ in where the moments come from."""

    def __init__(self, encoder, num_styles, width, blocks):
        self.encoder, self.blocks = encoder, blocks
        wide = 4 * width
        self.grain = Grain(8, PERIOD // STRIDE, name="grain_noise")
        self.convolutions, self.norms, self.channels = {}, {}, []
        plan = [("enter", wide, 3), ("colours", wide, 3), ("grain", wide, 3)]
        plan += [(f"block{i}_{j}", wide, 3) for i in range(1, blocks + 1) for j in (1, 2)]
        plan += [("up1", 2 * width, 3), ("up2", width, 3)]
        for name, filters, size in (*plan, ("out", 3, 9)):
            # No bias before a normalisation, which would take it away.
            self.convolutions[name] = layers.Conv2D(filters, size, use_bias=name == "out", name=name)
            if name != "out":
                self.norms[name] = Restyle(num_styles, name=f"{name}_restyle")
                self.channels.append(filters)

    @property
    def halo(self):
        # Half of each kernel times the stride there: the encoder's, 3 and two a block at 4, 3 at 2 and at 1, 9 at 1.
        # A doubled place stands for its block, so what lies up to a stride further counts too.
        return _reach(self.encoder) + 4 + 8 * self.blocks + 2 + 1 + 4 + 2 * STRIDE

    def paint(self, images, content, shares, moments=None):
        """Images, what the encoder saw in them, shares `[B, K]` -> painted; `moments`: x -> its moments, or its own."""
        moments = moments or (lambda x: Moments()(x))

        def convolve(x, name, activation="relu"):
            x = Reflect(self.convolutions[name].kernel_size[0] // 2)(x)
            x = self.convolutions[name](x)
            if name in self.norms:
                x = self.norms[name](x, moments(x), shares)
            return layers.Activation(activation)(x) if activation else x

        (x,) = content.values()  # [B, H/4, W/4, C]
        # In float32: sums of 16 levels have more bits than half precision.
        small = layers.AveragePooling2D(STRIDE, dtype="float32")(images)  # [B, H/4, W/4, 3]
        small = layers.Rescaling(1 / 255, dtype="float32")(small)
        seen = {"enter": x, "colours": small, "grain": self.grain(x)}
        x = layers.Add()([convolve(found, name) for name, found in seen.items()])  # [B, H/4, W/4, 4w]
        for i in range(1, self.blocks + 1):
            x = layers.Add()([x, convolve(convolve(x, f"block{i}_1"), f"block{i}_2", None)])
        for name in ("up1", "up2"):
            x = convolve(layers.UpSampling2D(2, interpolation="nearest")(x), name)  # [B, H/2, W/2, 2w], [B, H, W, w]
        x = convolve(x, "out", None)  # [B, H, W, 3]
        x = layers.Activation("sigmoid", dtype="float32")(x)  # half precision has too few steps between 128 and 255
        return layers.Rescaling(255.0, dtype="float32")(x)


def _reach(chain):
    """Pixels around a place that a chain of convolutions and poolings looks at."""
    reach, stride = 0, 1
    for layer in chain.layers:
        if size := getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None):
            reach += stride * (size[0] // 2)
            stride *= layer.strides[0]
    return reach


def _float32(levels):
    """Features that were computed in half precision, for sums over many places."""
    return {level: ops.cast(found, "float32") for level, found in levels.items()}
