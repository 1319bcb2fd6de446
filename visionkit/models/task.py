"""What every task model has in common: conventions that travel with it, and a config that writes itself."""

import functools
import inspect

import keras

from visionkit.resizing import crop_share


class Task(keras.Model):
    """A functional Keras model that owns its loss and its decoding.

    A subclass builds its graph in `__init__` and calls `super().__init__(inputs, outputs, ...)`, overrides
    `compute_loss(x, y, y_pred, sample_weight, training)` where `y` is a dict of padded tensors, and `serving()`.
    `compile(optimizer=...)` gets no loss. The arguments of the subclass's `__init__` are its config: they are
    recorded when a model is made, so nothing is written twice and `keras.saving.load_model` works.

    Args:
        image_size: (height, width) in pixels of the images the network takes.
        class_names: names of the class ids 0..K-1; by default "0", "1", ...
        num_classes: K, without background.
        resize: how an image becomes one of `image_size`: "letterbox" keeps the aspect ratio and pads at the bottom
            or right, "stretch" does not, "crop" and "crop 224/232" keep it and take the middle; see `resizing.fit`.
        licence: of the weights, as an SPDX name. A fine-tuned model has that of the published weights it began with.
    """

    least_rows = 1  # of a batch that a loss must see together
    task = "detect"  # what its batches hold and how it is scored: "detect", "instance", "classify", "segment", "style"

    def __init__(
        self,
        inputs,
        outputs,
        *,
        image_size,
        num_classes,
        class_names=(),
        resize="letterbox",
        licence="unknown",
        **kwargs,
    ):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        self.image_size = tuple(image_size)
        self.num_classes = num_classes
        self.class_names = list(class_names) or [str(i) for i in range(num_classes)]
        self.resize = resize
        self.licence = licence
        if len(self.class_names) != num_classes:
            raise ValueError(f"{num_classes} classes but {len(self.class_names)} class names: {self.class_names}")
        if crop_share(resize) and self.task != "classify":
            raise ValueError(f"resize={resize!r} is for classifiers, which need not say where something is")

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        # Keras makes helper subclasses of its own when it turns `cls` into a functional model: only ours are wrapped.
        if "__init__" in vars(cls):
            cls.__init__ = _recording(cls.__init__)
            keras.saving.register_keras_serializable("visionkit")(cls)

    @property
    def channels(self) -> int:
        """Of the images the network takes: 3, or 1 for grey."""
        return self.input.shape[-1]

    def serving(self) -> keras.Model:
        """Returns the functional model that predict runs, metrics score and exporters freeze.

        It takes float32 `[B, H, W, C]`, RGB (C = 3) or grey (C = 1) 0..255, and gives a dict of tensors of fixed size;
        see the subclass.
        """
        raise NotImplementedError(f"{type(self).__name__} does not say how it is served")

    def over_devices(self, value):
        """The mean, over the devices that share a batch, of what a loss has added up in its rows; on one just `value`.

        A loss that divides by anything but its number of images divides by such a mean: then the mean of the devices'
        losses is the loss of the whole batch. Gradients pass through. `train.devices` replaces it where it must.
        """
        return value

    def get_config(self):
        arguments = self._arguments | {"licence": self.licence}  # weights are loaded after the model was made
        return {key: keras.saving.serialize_keras_object(value) for key, value in arguments.items()}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{k: keras.saving.deserialize_keras_object(v, custom_objects) for k, v in config.items()})


def take_levels(backbone, images, levels):
    """The features of `images` at some of the backbone's levels: {"C3": `[B, H/8, W/8, ...]`, ...}, fine levels first.

    Raises:
        ValueError: the backbone has no such level; names it and those there are.
    """
    outputs = backbone(images)
    missing = set(levels) - set(outputs)
    if missing:
        raise ValueError(f"backbone {backbone.name!r} has no level {sorted(missing)}; it has {sorted(outputs)}")
    return {level: outputs[level] for level in sorted(levels)}


def _recording(init):
    signature = inspect.signature(init)

    @functools.wraps(init)
    def wrapper(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        arguments = {k: v for k, v in bound.arguments.items() if k not in ("self", "kwargs")}
        arguments |= bound.arguments.get("kwargs", {})
        init(self, *args, **kwargs)
        # A base class has recorded before: what the outer one passed on or left at its default is there already.
        arguments = vars(self).get("_arguments", {}) | arguments | {"name": self.name}
        object.__setattr__(self, "_arguments", arguments)  # past Keras' tracking: these are not layers of ours

    return wrapper
