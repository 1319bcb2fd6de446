"""Versions, devices and the git commit: what one needs to explain a result, or a missing GPU, later."""

import contextlib
import ctypes
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from visionkit.types import DataError

PACKAGES = (
    *("visionkit", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy", "opencv-python-headless", "pillow"),
    *("albumentations", "grain", "pycocotools", "faster-coco-eval"),
)
CGROUP = Path("/sys/fs/cgroup")  # version 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # from glibc's malloc.h


def import_keras_quietly() -> None:
    """Imports Keras with its backend and hides what they print about their own build.

    TensorFlow's C++ half prints such notes before it can be told not to. Errors are still raised.

    Raises:
        DataError: the backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # set it to 0 to see what is logged later
    try:
        with _shown("loading Keras"), quiet_stderr():
            import keras  # noqa: F401
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("tensorflow", "jax", "torch"):
            raise
        text = f"Keras is set to run on {missing}, which is not installed; "
        text += "it comes with visionkit's extras (docs/install.md)"
        if missing != "jax" and _version("jax"):
            text += "; jax is installed: KERAS_BACKEND=jax uses it"
        raise DataError(text) from None


def is_offline() -> bool:
    """Whether the user keeps visionkit off the network: VISIONKIT_OFFLINE=1, which --offline sets."""
    return os.environ.get("VISIONKIT_OFFLINE", "0") not in ("", "0")


@contextlib.contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Inside this context the process keeps freed memory for its next allocations; without glibc it does nothing.

    A training step frees the tensors that the next one allocates. In between, glibc returns them to the system, which
    then has to find and clear memory again: for the style network 70 MB a step, a seventh of its time.
    """
    try:
        library = ctypes.CDLL(None)
        mallopt, trim = library.mallopt, library.malloc_trim
    except (OSError, TypeError, AttributeError):  # AttributeError: a C library that lacks them
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the largest value that it accepts
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)  # the value that glibc's own adjustment would have reached
        trim(0)


@contextlib.contextmanager
def _shown(text: str) -> Iterator[None]:
    """Shows a text on the terminal, if stderr is one, as long as this context lasts and Keras is not there yet."""
    shown = sys.stderr.isatty() and "keras" not in sys.modules
    if shown:
        print(text, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if shown:
            print("\x1b[2K", end="\r", file=sys.stderr, flush=True)  # clears the line


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Hides what is written to stderr, also by C++."""
    sys.stderr.flush()
    stderr = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def environment() -> dict:
    """The versions of the packages that compute, the backend, the machine and visionkit's git commit.

    The backend is None if Keras or the backend is not installed, the commit is None outside a checkout.
    """
    try:
        import keras

        backend = keras.backend.backend()
    except ModuleNotFoundError:  # an export needs neither Keras nor a backend
        backend = None

    return {
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "backend": backend,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "commit": _commit(),
    }


def describe() -> str:
    """`environment` as text, with the devices that the backend sees and, if no GPU is among them, the reason."""
    facts = environment()
    lines = [f"{name:24}{version}" for name, version in facts.pop("versions").items()]
    lines += [f"{name:24}{value}" for name, value in facts.items()]
    if facts["backend"] is None:
        return "\n".join(lines)
    devices = _devices()
    lines.append(f"{'devices':24}{', '.join(devices)}")
    if not any("gpu" in device.lower() or "cuda" in device.lower() for device in devices):
        lines.append(f"{'no GPU because':24}{_why_no_gpu()}")
    return "\n".join(lines)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists() or not shutil.which("git"):
        return None
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _devices() -> list[str]:
    from keras.distribution import list_devices

    return list_devices() or ["cpu:0"]


def _why_no_gpu() -> str:
    if _version("tensorflow-cpu"):
        return (
            "tensorflow-cpu is installed, which cannot use a GPU: "
            "make a new environment with the extra gpu (docs/install.md)"
        )
    if not (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        return "this machine has no NVIDIA driver (no nvidia-smi, no /dev/nvidia0)"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, which hides every GPU"
    return (
        "there is a driver but the backend does not use it: its CUDA packages may be missing or too new for the driver"
    )


def free_memory() -> int:
    """The bytes that a new process may use: what is free on the machine, or in the container if that is less."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, current, stat = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        cached = re.search(r"^inactive_file (\d+)$", stat.read_text(), re.MULTILINE)  # freed on demand
        free = min(free, int(most) - int(current.read_text()) + int(cached[1] if cached else 0))
    return free


def peak_memory() -> int:
    """The most bytes that this process has held. `resource` would include the peak of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
