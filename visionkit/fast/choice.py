"""Which runtime computes: the one that was asked for, or the fastest that is installed."""

import os
import shutil
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

from visionkit.by_name import nearest
from visionkit.types import DataError

Runtime = Literal["auto", "keras", "openvino", "onnx"]
VARIABLE = "VISIONKIT_RUNTIME"  # what "auto" means where it is set
PACKAGES = {"openvino": "openvino", "onnx": "onnxruntime"}  # runs a form; in the order of preference
IMAGES, PRODUCT = 200, 10_000  # see `pays`
MAKERS = {"openvino": ("tensorflow",), "onnx": ("tensorflow", "onnx", "tf2onnx")}  # what making it needs besides


def asked(runtime: str) -> str:
    """`runtime`, or what the environment variable says in place of "auto".

    Raises:
        DataError: there is no such runtime.
    """
    named = os.environ.get(VARIABLE, "") if runtime == "auto" else runtime
    known = get_args(Runtime)
    if named and named not in known:
        where = VARIABLE if runtime == "auto" else "--runtime"
        raise DataError(f"{where}: expected {', '.join(known)}, found {named!r}{nearest(named, known)}")
    return named or "auto"


def runtime_for(asked: str) -> str | None:
    """The runtime other than Keras that is to be used: a name in `PACKAGES`, or None for Keras.

    Raises:
        DataError: the one that was asked for by name is not installed.
    """
    if asked == "auto":
        return None if has_gpu() else next((name for name, package in PACKAGES.items() if find_spec(package)), None)
    if asked == "keras":
        return None
    if not find_spec(PACKAGES[asked]):
        raise DataError(
            f"--runtime {asked}: {PACKAGES[asked]} is not installed; it comes with visionkit's extra {asked}: "
            f"pip install 'keras-visionkit[{asked}]'"
        )
    return asked


def can_make(runtime: str) -> bool:
    """Whether what writes the form for a runtime is installed; a form that is there runs without it."""
    return all(find_spec(package) for package in MAKERS[runtime])


def pays(images: int, size: int) -> bool:
    """Whether a form that is not there yet is worth its half minute.

    Args:
        images: that wait for the model.
        size: of the model in bytes; a larger one takes longer for an image, roughly.
    """
    return images >= IMAGES and images * size / 1e6 >= PRODUCT


def has_gpu() -> bool:
    """Whether Keras probably computes on a GPU: there is a driver, and nothing keeps Keras from it.

    Nothing is imported for it, since TensorFlow alone needs longer than a small folder of images.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or _installed("tensorflow-cpu"):
        return False
    return Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None


def version_of(runtime: str) -> str:
    """The version of the package that runs a form."""
    return metadata.version(PACKAGES[runtime])


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
