"""Checks the arguments of a task model before its graph is built, so that a slip is answered in one line."""

import inspect
from collections.abc import Mapping
from typing import Any

import keras

from visionkit.by_name import nearest
from visionkit.score_curve import ScoreCurve


def check_arguments(kind: type, arguments: Mapping[str, Any]) -> None:
    """Refuses arguments that the constructor of a task model does not know, and values of another kind than it takes.

    Args:
        kind: the class of the model; the options of its base classes are known as well.
        arguments: name -> value, with defaults.

    Raises:
        TypeError: an option is unknown, or a value has the wrong type.
        ValueError: a value is out of range, or `class_names` has not one name for each class.
    """
    known = _options(kind)
    for name in arguments:
        if name not in known:
            raise TypeError(f"{kind.__name__} has no option {name!r}{nearest(name, known)}")
    for name, check in _CHECKS.items():
        if name in arguments:
            try:
                check(arguments[name])
            except (TypeError, ValueError) as error:
                raise type(error)(f"{kind.__name__}: {error}") from None
    names, count = arguments.get("class_names"), arguments.get("num_classes")
    if names and len(names) != count:
        raise ValueError(
            f"{kind.__name__}: {count} classes but {len(names)} class names: {list(names)}; give one name for each"
        )

    _check_size_of_backbone(kind.__name__, arguments.get("backbone"), arguments.get("image_size"))


def _check_size_of_backbone(name: str, backbone: Any, image_size: Any) -> None:
    """Refuses a backbone that was made for images of another size."""
    shape = getattr(backbone, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or image_size is None:
        return
    made, wanted = shape[1:3], tuple(image_size)
    if any(side not in (None, other) for side, other in zip(made, wanted, strict=True)):
        raise ValueError(
            f"{name}: backbone {backbone.name!r} is made for images of {made} (height, width), not {wanted}; give "
            f"image_size={made}, or make it for every size: (None, None, {shape[3]})"
        )


def _options(kind: type) -> dict[str, None]:
    """The names of all options of a class, in order: its own, then those of its bases."""
    names: dict[str, None] = {}
    for cls in kind.__mro__:
        if cls.__module__.startswith("keras."):
            break
        if "__init__" in vars(cls):
            names |= dict.fromkeys(inspect.signature(cls.__init__).parameters)
    for name in ("self", "args", "kwargs", "inputs", "outputs"):
        names.pop(name, None)
    return names | {"name": None, "trainable": None}  # of keras.Model


def _check_backbone(backbone: Any) -> None:
    if isinstance(backbone, str):
        raise TypeError(f"backbone={backbone!r} is a name; give the model: vk.BACKBONES[{backbone!r}]()")
    if not isinstance(backbone, keras.Model):
        called = f"; call it: {backbone.__name__}()" if inspect.isfunction(backbone) else ""
        raise TypeError(f"backbone must be a keras.Model, found {_shown(backbone)}{called}")
    outputs: Any = getattr(backbone, "output", None) if hasattr(backbone, "outputs") else {}
    if not isinstance(outputs, dict):
        raise TypeError(
            f"backbone {backbone.name!r} must return a dict of levels, found {_shown(outputs)}; "
            'build keras.Model(images, {"C3": features of stride 8, ...})'
        )


def _check_image_size(size: Any) -> None:
    good = isinstance(size, tuple | list) and len(size) == 2 and all(_is_count(side) for side in size)
    if not good:
        example = (size, size) if _is_count(size) else (320, 320)
        raise TypeError(f"image_size must be (height, width) in pixels, such as {example}, found {_shown(size)}")


def _check_levels(levels: Any) -> None:
    if isinstance(levels, str):
        raise TypeError(f"levels must be a tuple of names, such as ({levels!r},), found the text {levels!r}")


def _check_num_classes(count: Any) -> None:
    if isinstance(count, tuple | list):
        raise TypeError(
            f"num_classes must be a number, found {_shown(count)}; give num_classes={len(count)}, class_names={count}"
        )
    if not _is_count(count):
        raise ValueError(f"num_classes must be a whole number above 0, found {_shown(count)}")


def _check_class_names(names: Any) -> None:
    if isinstance(names, str):
        raise TypeError(f"class_names must be a list of names, such as [{names!r}], found the text {names!r}")


def _check_calibration(curve: Any) -> None:
    if not (curve is None or isinstance(curve, ScoreCurve | Mapping)):
        raise TypeError(f"calibration must be a curve that vk.calibrate has found, found {_shown(curve)}")


def _is_count(value: Any) -> bool:
    """Whether `value` is a whole number above 0, of Python or of NumPy."""
    return hasattr(value, "__index__") and not isinstance(value, bool) and int(value) > 0


def _shown(value: Any) -> str:
    """`value` on one line, shortened."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


_CHECKS = {
    "backbone": _check_backbone,
    "image_size": _check_image_size,
    "levels": _check_levels,
    "num_classes": _check_num_classes,
    "class_names": _check_class_names,
    "calibration": _check_calibration,
}
