"""A network that paints a photo in one pass (Johnson et al. 2016, arXiv 1603.08155), in one of several styles.

The residual network of the paper's supplement, with what later work found better: instance normalisation (Ulyanov et
al. 2016), one scale and shift a style (Dumoulin et al. 2017), nearest-neighbour doubling before a convolution in place
of a transposed one, reflection in place of zeros. The classes of this "task" are the styles, named like classes.
"""

import keras
import numpy as np
from keras import layers, ops

from visionkit.models.task import Task
from visionkit.style.canvas import Weights
from visionkit.style.layers import Moments, Reflect, Restyle, StyleOfRow
from visionkit.style.losses import CONTENT_LEVELS, STYLE_LEVELS, content_loss, grams, style_loss, total_variation

STRIDE = 4  # heights and widths that the network takes are multiples of it


class StyleNetwork(Task):
    """images 0..255 `[B, H, W, 3]` -> the same, painted; H and W are multiples of 4, at least 16.

    As a Task it paints row i of a batch in style i modulo K, which is how it learns them all alike; `serving()` takes
    the styles as an input. Before `fit` it needs `learn_from`.

    Args:
        num_classes: styles, K.
        class_names: their names.
        image_size: (height, width) of the crops it is trained on; it paints pictures of any size.
        width: channels of the first layer; the paper has 32. Time grows with the square.
        blocks: residual blocks; the paper has 5.
    """

    task = "style"

    def __init__(self, num_classes, class_names=(), image_size=(128, 128), width=16, blocks=5, **kwargs):
        network = _Network(num_classes, width, blocks)
        images = keras.Input((None, None, 3), name="images")
        shares = StyleOfRow(num_classes, name="style_of_row")(images)
        painted = network.paint(images, shares)
        common = {"num_classes": num_classes, "class_names": class_names, "image_size": image_size}
        super().__init__(images, painted, resize="stretch", **common, **kwargs)
        self.width, self.blocks = width, blocks
        self.losses_mean = {name: keras.metrics.Mean(name=name) for name in ("content", "style", "smooth")}
        object.__setattr__(self, "_network", network)  # past Keras' tracking, as is all that is not saved
        object.__setattr__(self, "_critic", None)

    @property
    def halo(self) -> int:
        """Pixels around a place that its painted colour can depend on, once the moments are given; a multiple of 4."""
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
        object.__setattr__(self, "_critic", (features, table, weights))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        if self._critic is None:
            raise ValueError("a StyleNetwork learns after learn_from(features, styles, weights)")
        features, table, weights = self._critic
        wanted, seen = (_float32(features(ops.cast(images, "float32"))) for images in (x, y_pred))
        rows = ops.arange(ops.shape(y_pred)[0]) % self.num_classes
        targets = {level: ops.take(ops.convert_to_tensor(gram), rows, axis=0) for level, gram in table.items()}
        losses = {
            "content": ops.mean(content_loss(seen, {level: wanted[level] for level in CONTENT_LEVELS})),
            "style": ops.mean(style_loss(grams(seen), targets)),
            "smooth": ops.mean(total_variation(y_pred)),
        }
        for name, value in losses.items():
            self.losses_mean[name].update_state(value)
        return sum(getattr(weights, name) * value for name, value in losses.items())

    def serving(self) -> keras.Model:
        """{"images": `[B, H, W, 3]` 0..255, "shares": `[B, K]`} -> painted `[B, H, W, 3]` 0..255."""
        images, shares = keras.Input((None, None, 3), name="images"), keras.Input((self.num_classes,), name="shares")
        return keras.Model({"images": images, "shares": shares}, self._network.paint(images, shares))

    def measuring(self) -> keras.Model:
        """As `serving`, but -> the moments of every layer, a list of `[1, 2, C]`, over the whole batch."""
        images, shares = keras.Input((None, None, 3), name="images"), keras.Input((self.num_classes,), name="shares")
        moments = []
        self._network.paint(images, shares, lambda x: moments.append(Moments(jointly=True)(x)) or moments[-1])
        return keras.Model({"images": images, "shares": shares}, moments)

    def painting(self) -> keras.Model:
        """As `serving`, by given moments: takes "moments" besides, a list of `[B, 2, C]` such as `measuring` gives."""
        images, shares = keras.Input((None, None, 3), name="images"), keras.Input((self.num_classes,), name="shares")
        moments = [keras.Input((2, c), name=f"moments{i}") for i, c in enumerate(self._network.channels)]
        given = iter(moments)
        painted = self._network.paint(images, shares, lambda x: next(given))
        return keras.Model({"images": images, "shares": shares, "moments": moments}, painted)


class _Network:
    """The layers, which three graphs share: they differ in where the moments come from."""

    def __init__(self, num_styles, width, blocks):
        self.blocks, self.num_styles = blocks, num_styles
        wide = 4 * width
        self.convolutions, self.norms, self.channels = {}, {}, []
        self.plan = [("in", width, 9, 1), ("down1", 2 * width, 3, 2), ("down2", wide, 3, 2)]
        self.plan += [(f"block{i}_{j}", wide, 3, 1) for i in range(1, blocks + 1) for j in (1, 2)]
        self.plan += [("up1", 2 * width, 3, 1), ("up2", width, 3, 1)]
        for name, filters, size, strides in (*self.plan, ("out", 3, 9, 1)):
            # No bias before a normalisation, which would take it away.
            self.convolutions[name] = layers.Conv2D(filters, size, strides, use_bias=name == "out", name=name)
            if name != "out":
                self.norms[name] = Restyle(num_styles, name=f"{name}_restyle")
                self.channels.append(filters)

    @property
    def halo(self):
        # Half of each kernel times the stride there: 9 and 9 at 1, 3 at 1 and 2 going down, 3 at 4, 3 at 2 and 1 up.
        # A doubled place stands for its block, so what lies up to a stride further counts too.
        reach = 4 + 1 + 2 + 8 * self.blocks + 2 + 1 + 4 + 2 * STRIDE
        return -(-reach // STRIDE) * STRIDE

    def paint(self, images, shares, moments=None):
        """images `[B, H, W, 3]` 0..255 and shares `[B, K]` -> painted; `moments`: x -> its moments, by default own."""
        moments = moments or (lambda x: Moments()(x))

        def convolve(x, name, activation="relu"):
            x = Reflect(self.convolutions[name].kernel_size[0] // 2)(x)
            x = self.convolutions[name](x)
            if name in self.norms:
                x = self.norms[name](x, moments(x), shares)
            return layers.Activation(activation)(x) if activation else x

        x = layers.Rescaling(1 / 127.5, -1.0)(images)
        for name in ("in", "down1", "down2"):
            x = convolve(x, name)  # [B, H, W, w], [B, H/2, W/2, 2w], [B, H/4, W/4, 4w]
        for i in range(1, self.blocks + 1):
            x = layers.Add()([x, convolve(convolve(x, f"block{i}_1"), f"block{i}_2", None)])
        for name in ("up1", "up2"):
            x = convolve(layers.UpSampling2D(2, interpolation="nearest")(x), name)
        x = convolve(x, "out", None)
        x = layers.Activation("sigmoid", dtype="float32")(x)  # half precision has too few steps between 128 and 255
        return layers.Rescaling(255.0, dtype="float32")(x)


def _float32(levels):
    """Features that were computed in half precision, for sums over many places."""
    return {level: ops.cast(found, "float32") for level, found in levels.items()}
