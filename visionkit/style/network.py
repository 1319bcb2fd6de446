"""A network that paints a photo in one pass (Johnson et al. 2016, arXiv 1603.08155), in one of several styles.

This is the second half of the paper's residual network, behind the frozen VGG levels that the content loss uses: they
are what the network must preserve of the photo (an encoder as in Huang and Belongie 2017, arXiv 1703.06868, Figure 2).
The paper learns strided convolutions instead. The photo's colours, which that VGG hardly sees, enter beside it. Later
work contributes noise (Ulyanov et al. 2016, arXiv 1603.03417), instance normalisation (Ulyanov et al. 2016, arXiv
1607.08022), one scale and shift per style (Dumoulin et al. 2017), nearest-neighbour upsampling before a convolution
instead of a transposed convolution, and reflection padding instead of zeros. The classes of this "task" are the styles.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

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
from visionkit.types import Tensor

STRIDE = 4  # the network takes heights and widths that are multiples of it
PERIOD = 64  # pixels after which the grain repeats


@dataclass(frozen=True, kw_only=True)
class _Critic:
    """What a network learns from."""

    features: Callable[[Tensor], dict[str, Tensor]]  # images -> {level: features}
    grams: dict[str, np.ndarray]  # of the K styles: {level: [K, C, C]}
    palettes: np.ndarray  # of the K styles: [K, 2, 1, 3]
    weights: Weights


class StyleNetwork(Task):
    """images 0..255 `[B, H, W, 3]` -> "painted", images of the same shape, and "content", the encoder's features.

    H and W are multiples of 4, at least 16. As a Task it paints row i of a batch in style i modulo K, so that it learns
    all styles equally; `serving()` takes the styles as an input. Call `learn_from` before `fit`.

    Args:
        encoder: `losses.take_features(backbone, CONTENT_LEVELS)`, frozen: images -> {"C2": `[B, H/4, W/4, C]`}.
        num_classes: number of styles, K.
        class_names: their names.
        image_size: (height, width) of the crops it is trained on; it paints pictures of any size.
        width: channels of the last layer but one; there are twice as many at half its size, and four times as many at a
            quarter. The paper has 32. Time grows with the square.
        blocks: number of residual blocks; the paper has 5.
    """

    task = "style"

    def __init__(
        self,
        encoder: keras.Model,
        num_classes: int,
        class_names: Sequence[str] = (),
        image_size: tuple[int, int] = (128, 128),
        width: int = 24,
        blocks: int = 5,
        **kwargs: Any,
    ):
        encoder.trainable = False  # also when it is loaded from a file
        network = _Network(encoder, num_classes, width, blocks)
        images = keras.Input((None, None, 3), name="images")
        shares = StyleOfRow(num_classes, name="style_of_row")(images)
        content = encoder(images)
        outputs = {"painted": network.paint(images, content, shares), "content": content}
        super().__init__(
            images,
            outputs,
            num_classes=num_classes,
            class_names=class_names,
            image_size=image_size,
            resize="stretch",
            **kwargs,
        )
        self.losses_mean = {name: keras.metrics.Mean(name=name) for name in LOSSES}
        # Not saved, and so set without Keras' tracking.
        object.__setattr__(self, "_network", network)
        object.__setattr__(self, "_critic", None)

    @property
    def least_rows(self) -> int:
        """The smallest batch that contains every style."""
        return self.num_classes

    @property
    def halo(self) -> int:
        """How far away, in pixels, the photo can influence a painted pixel, if the moments are given."""
        return self._network.halo

    def learn_from(self, features: keras.Model, styles: Sequence[np.ndarray], weights: Weights) -> None:
        """Sets what the network learns: to paint so that `features` see the styles.

        Args:
            features: from `losses.take_features`; not saved with the network.
            styles: K paintings, RGB uint8 `[h, w, 3]`, at the size at which their strokes should appear.
            weights: of the losses.
        """
        paintings = [style[None].astype(np.float32) for style in styles]  # [1, h, w, 3] each
        seen = [grams(_float32(features.predict_on_batch(painting))) for painting in paintings]
        critic = _Critic(
            features=with_constants(features),
            grams={
                level: np.concatenate([ops.convert_to_numpy(matrices[level]) for matrices in seen])
                for level in STYLE_LEVELS
            },
            palettes=np.concatenate([ops.convert_to_numpy(palette(painting)) for painting in paintings]),
            weights=weights,
        )
        object.__setattr__(self, "_critic", critic)

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        critic: _Critic | None = self._critic
        if critic is None:
            raise ValueError("a StyleNetwork learns after learn_from(features, styles, weights)")
        painted = y_pred["painted"]
        seen = critic.features(painted)
        rows = ops.arange(ops.shape(painted)[0]) % self.num_classes  # the style of each image
        targets = {level: ops.take(matrices, rows, axis=0) for level, matrices in critic.grams.items()}
        photos = ops.cast(x, "float32")
        losses = {
            "content": ops.mean(content_loss(_float32(seen), _float32(y_pred["content"]))),
            "style": ops.mean(style_loss(grams(seen), targets)),
            "smooth": ops.mean(total_variation(painted)),
            "palette": ops.mean(palette_loss(painted, photos, ops.take(critic.palettes, rows, axis=0))),
        }
        for name, value in losses.items():
            self.losses_mean[name].update_state(value)
        return sum(getattr(critic.weights, name) * value for name, value in losses.items())

    def serving(self) -> keras.Model:
        """{"images": `[B, H, W, 3]` 0..255, "shares": `[B, K]`} -> painted `[B, H, W, 3]` 0..255."""
        return keras.Model(*self._graph())

    def measuring(self) -> keras.Model:
        """The same inputs as `serving` -> the moments of every layer over the whole batch, a list of `[1, 2, C]`."""
        measured = []

        def measure(x: Tensor) -> Tensor:
            measured.append(Moments(jointly=True)(x))
            return measured[-1]

        inputs, _ = self._graph(measure)
        return keras.Model(inputs, measured)

    def painting(self) -> keras.Model:
        """Like `serving`, but with a further input "moments", a list of `[B, 2, C]` such as `measuring` gives."""
        moments = [keras.Input((2, c), name=f"moments{i}") for i, c in enumerate(self._network.channels)]
        given = iter(moments)
        inputs, painted = self._graph(lambda x: next(given))
        return keras.Model(inputs | {"moments": moments}, painted)

    def _graph(self, moments: Callable[[Tensor], Tensor] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """Inputs and the painted output; for `moments` see `_Network.paint`."""
        images = keras.Input((None, None, 3), name="images")
        shares = keras.Input((self.num_classes,), name="shares")
        painted = self._network.paint(images, self._network.encoder(images), shares, moments)
        return {"images": images, "shares": shares}, painted


class _Network:
    """The layers that three graphs share; the graphs differ in where the moments come from."""

    def __init__(self, encoder: keras.Model, num_styles: int, width: int, blocks: int):
        self.encoder, self.blocks = encoder, blocks
        wide = 4 * width
        self.grain = Grain(8, PERIOD // STRIDE, name="grain_noise")
        self.convolutions: dict[str, layers.Layer] = {}
        self.norms: dict[str, Restyle] = {}
        self.channels: list[int] = []  # of each normalised layer, in order
        convolutions = [("enter", wide, 3), ("colours", wide, 3), ("grain", wide, 3)]
        convolutions += [(f"block{i}_{j}", wide, 3) for i in range(1, blocks + 1) for j in (1, 2)]
        convolutions += [("up1", 2 * width, 3), ("up2", width, 3), ("out", 3, 9)]
        for name, filters, size in convolutions:
            # No bias before a normalisation, which would cancel it.
            self.convolutions[name] = layers.Conv2D(filters, size, use_bias=name == "out", name=name)
            if name != "out":
                self.norms[name] = Restyle(num_styles, name=f"{name}_restyle")
                self.channels.append(filters)

    @property
    def halo(self) -> int:
        # Half of each kernel times the stride where it is applied: the encoder's kernels; at stride 4 a 3 and two per
        # block; a 3 at stride 2 and at 1; a 9 at stride 1. Each upsampling repeats pixels, which adds at most a stride.
        return _reach(self.encoder) + 4 + 8 * self.blocks + 2 + 1 + 4 + 2 * STRIDE

    def paint(
        self,
        images: Tensor,
        content: Mapping[str, Tensor],
        shares: Tensor,
        moments: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Builds the graph of the painted images.

        Args:
            images: `[B, H, W, 3]`, 0..255.
            content: the encoder's features of them, one level.
            shares: `[B, K]`.
            moments: gives the moments by which a layer's output `[B, H, W, C]` is normalised, `[B or 1, 2, C]`; by
                default those of each image itself.

        Returns:
            `[B, H, W, 3]`, 0..255.
        """

        def convolve(x: Tensor, name: str, activation: str | None = "relu") -> Tensor:
            x = Reflect(self.convolutions[name].kernel_size[0] // 2)(x)
            x = self.convolutions[name](x)
            if name in self.norms:
                x = self.norms[name](x, moments(x) if moments else Moments()(x), shares)
            return layers.Activation(activation)(x) if activation else x

        (x,) = content.values()  # [B, H/4, W/4, C]
        # In float32, because sums of 16 levels have more bits than half precision.
        small = layers.AveragePooling2D(STRIDE, dtype="float32")(images)  # [B, H/4, W/4, 3]
        small = layers.Rescaling(1 / 255, dtype="float32")(small)
        entering = {"enter": x, "colours": small, "grain": self.grain(x)}
        x = layers.Add()([convolve(features, name) for name, features in entering.items()])  # [B, H/4, W/4, 4w]
        for i in range(1, self.blocks + 1):
            x = layers.Add()([x, convolve(convolve(x, f"block{i}_1"), f"block{i}_2", None)])
        for name in ("up1", "up2"):
            x = convolve(layers.UpSampling2D(2, interpolation="nearest")(x), name)  # [B, H/2, W/2, 2w], [B, H, W, w]
        x = convolve(x, "out", None)  # [B, H, W, 3]
        x = layers.Activation("sigmoid", dtype="float32")(x)  # half precision is too coarse between 128 and 255
        return layers.Rescaling(255.0, dtype="float32")(x)


def _reach(chain: keras.Model) -> int:
    """How far a chain of convolutions and poolings looks, in pixels to each side."""
    reach, stride = 0, 1
    for layer in cast("list[Any]", chain.layers):
        size = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
        if size:
            reach += stride * (size[0] // 2)
            stride *= layer.strides[0]
    return reach


def _float32(levels: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Features, computed in half precision perhaps, as float32 for sums over many places."""
    return {level: ops.cast(features, "float32") for level, features in levels.items()}
