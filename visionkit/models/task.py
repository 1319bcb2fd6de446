"""What all task models have in common: the conventions that are saved with them, and a config made automatically."""

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, ParamSpec, cast

import keras

from visionkit.layers.calibrate import Calibrate
from visionkit.models.arguments import check_arguments
from visionkit.models.checked import checked
from visionkit.models.target_check import TargetCheck
from visionkit.resizing import crop_share
from visionkit.score_curve import ScoreCurve
from visionkit.types import Tensor

_P = ParamSpec("_P")


@dataclass(frozen=True)
class ClassRows:
    """Where the classes lie in the last axis of a layer's weights: [anchors * (K + background) * each].

    Args:
        background: 1 if a row for background follows the K classes, else 0.
        each: values for each class.
        mixed: the layer also takes classes as its input, so that its weights cannot be split by class.
    """

    background: int = 0
    each: int = 1
    mixed: bool = False


class Task(keras.Model):
    """A functional Keras model that owns its loss and its decoding.

    A subclass builds its graph in `__init__`, calls `super().__init__(inputs, outputs, ...)` and overrides
    `compute_loss(x, y, y_pred, sample_weight, training)`, where `y` is a dict of padded tensors, and `serving()`.
    `compile(optimizer=...)` gets no loss. The arguments of the subclass's `__init__` are its config. They are recorded
    when a model is built, so that `keras.saving.load_model` works without a handwritten `get_config`.

    Args:
        inputs: the graph's input, `[B, H, W, C]`.
        outputs: a dict of the graph's outputs, see the subclass.
        image_size: (height, width) in pixels of the images that the network takes.
        num_classes: K, without background.
        class_names: names of the class ids 0..K-1; by default "0", "1", ...
        resize: how an image is brought to `image_size`: "letterbox" keeps the aspect ratio and pads at the bottom or
            right, "stretch" changes it, "crop" and "crop 224/232" keep it and take the middle; see `resizing.fit`.
        licence: of the weights, as an SPDX name. Fine-tuning keeps the licence of the published weights.
        calibration: a `ScoreCurve`, or its `to_json`, that `serving()` applies to its scores; `visionkit.calibrate`
            finds one. The attribute may be changed; training sets it to None.
        kwargs: of `keras.Model`, for example `name`.

    Raises:
        ValueError: a crop for another task than classification.
    """

    least_rows = 1  # rows of a batch that a loss must see together
    # The layers whose weights hold rows for classes, by the beginning of their names; see `transfer.start_from`.
    class_layers: ClassVar[Mapping[str, ClassRows]] = {}
    # "detect", "instance", "keypoints", "classify", "segment" or "style": what batches hold and how it is scored.
    task = "detect"

    def __init__(
        self,
        inputs: Tensor,
        outputs: dict[str, Tensor],
        *,
        image_size: tuple[int, int],
        num_classes: int,
        class_names: Sequence[str] = (),
        resize: str = "letterbox",
        licence: str = "unknown",
        calibration: ScoreCurve | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        height, width = image_size
        self.image_size = (height, width)
        self.num_classes = num_classes
        self.class_names = list(class_names) or [str(i) for i in range(num_classes)]
        self.resize = resize
        self.licence = licence
        self.calibration = ScoreCurve.from_json(calibration) if isinstance(calibration, Mapping) else calibration
        if crop_share(resize) and self.task != "classify":
            raise ValueError(f"resize={resize!r} is for classifiers; the other tasks must see the whole image")

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        # Keras makes helper subclasses of its own when it turns `cls` into a functional model; only ours are wrapped. A
        # type checker does not follow this assignment and keeps the signature that stands in the class.
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)
            keras.saving.register_keras_serializable("visionkit")(cls)
        if "serving" in vars(cls):
            cls.serving = _calibrating(cls.serving)

    @property
    def channels(self) -> int:
        """Channels of the images that the network takes: 3, or 1 for grey."""
        images: Tensor = self.input
        return images.shape[-1]

    def rows_of(self, path: str) -> ClassRows | None:
        """Returns where the classes lie in the weight with this `path`, or None if it holds none."""
        layer = path.split("/")[-2] if "/" in path else ""
        fitting = [prefix for prefix in self.class_layers if layer.startswith(prefix)]
        return self.class_layers[max(fitting, key=len)] if fitting else None

    @property
    def any_size(self) -> bool:
        """Whether the same weights serve images of every size, as those of a fully convolutional network do."""
        return False

    def for_size(self, image_size: tuple[int, int]) -> "Task":
        """Returns the same network for images of another size, with the weights of this one: they change together.

        Args:
            image_size: (height, width) of its images in pixels.

        Raises:
            ValueError: the network is made for one size, see `any_size`.
        """
        if not self.any_size:
            raise ValueError(f"this {type(self).__name__} takes images of {self.image_size} (height, width) only")
        other = type(self)(**(self._arguments | {"image_size": image_size}))
        share_variables(self, other)
        other.calibration = self.calibration
        return other

    def serving(self) -> keras.Model:
        """Returns the functional model that is run for predictions, scored by metrics and exported.

        It takes float32 `[B, H, W, C]`, RGB (C = 3) or grey (C = 1) 0..255, and returns a dict of tensors of fixed
        size; see the subclass. Whatever the subclass returns gets the model's `calibration` as its last layer.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define serving()")

    def fit(self, x: Any = None, y: Any = None, *args: Any, **options: Any) -> Any:
        """As in Keras, with each batch checked on the host before the model sees it.

        Raises:
            DataError: a batch cannot be learned from, or an option would be ignored; one line that says why.
        """
        self.calibration = None  # it was found for the weights as they were
        check, validation = self._target_check(options), self._target_check(options)
        with check.answering(), validation.answering():
            x = checked(x, y, options.get("sample_weight"), check)
            held_out = options.get("validation_data")
            if isinstance(held_out, tuple | list):
                images, targets, weights = (*held_out, None, None)[:3]
                options["validation_data"] = (checked(images, targets, weights, validation), *held_out[1:])
            elif held_out is not None:
                options["validation_data"] = checked(held_out, None, None, validation)
            return super().fit(x, y, *args, **options)

    def evaluate(self, x: Any = None, y: Any = None, *args: Any, **options: Any) -> Any:
        """As in Keras, with each batch checked as in `fit`."""
        if options.get("_use_cached_eval_dataset"):  # within `fit`, which has checked it
            return super().evaluate(x, y, *args, **options)
        check = self._target_check(options)
        with check.answering():
            x = checked(x, y, options.get("sample_weight"), check)
            return super().evaluate(x, y, *args, **options)

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        """As in Keras, with the batch checked as in `fit`."""
        self.calibration = None
        self._target_check(options)((x, y, sample_weight))
        return super().train_on_batch(x, y, sample_weight, **options)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        """As in Keras, with the batch checked as in `fit`."""
        self._target_check(options)((x, y, sample_weight))
        return super().test_on_batch(x, y, sample_weight, **options)

    def _target_check(self, options: dict[str, Any]) -> TargetCheck:
        images: Tensor = self.input
        skeleton = getattr(self, "skeleton", None)
        keypoints = len(skeleton.names) if skeleton else 0
        check = TargetCheck(type(self).__name__, self.task, self.num_classes, tuple(images.shape[1:]), keypoints)
        if getattr(self, "loss", None) is not None:
            check.refuse("compile(loss=...) would be ignored, because the model has its own loss: leave it out")
        if getattr(self, "_compile_metrics", None) is not None:
            self._compile_metrics = None  # Keras would keep them when the model is compiled again
            check.refuse("compile(metrics=...) cannot read the model's targets: leave it out and score by vk.evaluate")
        if options.get("class_weight") is not None:
            check.refuse(
                "class_weight would not be used; give class_weights to a classifier or segmenter when it is made"
            )
        return check

    def over_devices(self, value: Tensor) -> Tensor:
        """Returns the mean of `value` `[]`, a sum over the rows of a batch, over the devices that share the batch.

        A loss that divides by anything but its number of images must divide by such a mean, so that the mean of the
        devices' losses is the loss of the whole batch. Gradients pass through. On one device it returns `value`;
        `train.devices` replaces it for several.
        """
        return value

    def get_config(self) -> dict[str, Any]:
        arguments = self._arguments | {"licence": self.licence}  # it may change when weights are loaded
        arguments.pop("calibration", None)  # models without one can be loaded by earlier versions
        if self.calibration:
            arguments["calibration"] = self.calibration.to_json()
        return {key: keras.saving.serialize_keras_object(value) for key, value in arguments.items()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Task":
        return cls(**{k: keras.saving.deserialize_keras_object(v, custom_objects) for k, v in config.items()})


def take_levels(backbone: keras.Model, images: Tensor, levels: Iterable[str]) -> dict[str, Tensor]:
    """The features of `images` at some of the backbone's levels: {"C3": `[B, H/8, W/8, ...]`, ...}, fine levels first.

    Raises:
        ValueError: the backbone has no such level; names it and the existing ones.
    """
    outputs: Any = backbone(images)
    missing = set(levels) - set(outputs)
    if missing:
        there = f"it has {sorted(outputs)}; name those to use with levels="
        raise ValueError(f"backbone {backbone.name!r} has no level {sorted(missing)}; {there}")
    features = {level: outputs[level] for level in sorted(levels)}
    for level, feature in features.items():
        _check_stride(backbone.name, level, tuple(images.shape), tuple(feature.shape))
    return features


def _check_stride(name: str, level: str, images: tuple[int | None, ...], feature: tuple[int | None, ...]) -> None:
    """Raises a ValueError if a level "Cn" is not about 2**n times smaller than the images `[B, H, W, C]`.

    Anchors would lie beside what they stand for. Convolutions without padding make small features smaller still, so
    only one that should have 8 rows or more is called too coarse.
    """
    if not re.fullmatch(r"C\d+", level):
        return
    for side, found in zip(images[1:3], feature[1:3], strict=False):
        expected = (side or 0) / 2 ** int(level[1:])
        too_fine = found and expected >= 2 and found > 1.8 * expected
        too_coarse = found and expected >= 8 and found < 0.55 * expected
        if side and found and (too_fine or too_coarse):
            stride = side / found
            raise ValueError(
                f"backbone {name!r}: its level {level!r} has a stride of about {stride:.0f} pixels, expected "
                f"{2 ** int(level[1:])}; it should be called 'C{round(math.log2(stride))}'"
            )


def takes_every_size(backbone: keras.Model) -> bool:
    """Whether a backbone was built for images of any height and width."""
    shape: Any = getattr(backbone, "input_shape", None)
    return isinstance(shape, tuple) and shape[1:3] == (None, None)


def share_variables(model: keras.Model, other: keras.Model) -> None:
    """Puts the variables of `model` in the place of those of `other`, which was built by the same code.

    Keras shares variables between models only by sharing layers, and some of our layers know the size of their images.
    """
    for layer, twin in zip(_layers(model), _layers(other), strict=True):
        if layer is twin:  # within a backbone, which both models were handed
            continue
        for name in ("_trainable_variables", "_non_trainable_variables"):
            getattr(twin, name)[:] = getattr(layer, name)
        for name, value in vars(layer).items():
            if isinstance(value, keras.Variable):
                vars(twin)[name] = value  # not by setattr, which would track a second variable


def _layers(model: keras.Model) -> list[Any]:
    """All layers of a model that are no metrics, also those inside other layers."""
    return list(cast(Any, model)._flatten_layers(include_self=False))


def _recording(init: Callable[_P, None]) -> Callable[_P, None]:
    """`init`, which also records the arguments that it was called with in `_arguments`."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        model: Any = arguments.pop("self")
        arguments.update(arguments.pop("kwargs", {}))
        if type(model).__init__ is wrapper:  # not once more in the base class
            check_arguments(type(model), arguments)
        init(*args, **kwargs)
        # The base class's `__init__` ran first and recorded its own arguments, including those passed on to it.
        recorded = {**vars(model).get("_arguments", {}), **arguments, "name": model.name}
        object.__setattr__(model, "_arguments", recorded)  # bypasses Keras' tracking: these are not the model's layers

    return wrapper


def _calibrating(serving: Callable[..., keras.Model]) -> Callable[..., keras.Model]:
    """`serving` with the model's calibration, if it has one, as the last layer."""

    @functools.wraps(serving)
    def wrapper(self: Task, *args: Any, **options: Any) -> keras.Model:
        network = serving(self, *args, **options)
        outermost = getattr(type(self).serving, "__wrapped__", None) is serving  # not once more in the base class
        if self.calibration is None or not outermost:
            return network
        return keras.Model(
            network.input, Calibrate(self.calibration, name="calibrate")(network.output), name=network.name
        )

    return wrapper
