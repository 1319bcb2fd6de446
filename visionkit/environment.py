"""Versions, devices and the git commit: what it takes to understand a number, or a missing GPU, later."""

import contextlib
import ctypes
import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from visionkit.types import DataError

PACKAGES = (
    *("visionkit", "keras", "tensorflow-cpu", "tensorflow", "jax", "numpy", "opencv-python-headless", "pillow"),
    *("albumentations", "grain", "pycocotools", "faster-coco-eval"),
)
CGROUP = Path("/sys/fs/cgroup")  # of version 2
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h


def import_keras_quietly() -> None:
    """Imports Keras with its backend and keeps what they print about their own build off the terminal.

    TensorFlow's C++ half writes such notes before it can be told not to; what goes wrong is raised all the same.

    Raises:
        DataError: the backend is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # 0 shows what is written later
    try:
        with quiet_stderr():
            import keras  # noqa: F401
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("tensorflow", "jax", "torch"):
            raise
        other = "; jax is installed: KERAS_BACKEND=jax uses it" if missing != "jax" and _version("jax") else ""
        text = f"{missing}, which Keras is to run on, is not installed; it comes with visionkit's extras (README.md)"
        raise DataError(text + other) from None


@contextlib.contextmanager
def keeping_freed_memory():
    """Lets this process keep what it frees for its next allocations, up to the end; does nothing without glibc.

    A training step frees the tensors that the next one allocates. glibc gives them back to the system in between, which
    then has to find and clear them anew: with the style network 70 MB a step, a seventh of its time.
    """
    try:
        mallopt, trim = (getattr(ctypes.CDLL(None), name) for name in ("mallopt", "malloc_trim"))
    except (OSError, TypeError, AttributeError):  # AttributeError: a C library without them
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)  # the most it takes
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        mallopt(_M_TRIM_THRESHOLD, 64 * 2**20)  # where glibc would have got by itself
        trim(0)


@contextlib.contextmanager
def quiet_stderr():
    """Keeps what is written to stderr, also by C++, off the terminal."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def environment() -> dict:
    """Versions of what computes, the backend, the machine and visionkit's git commit.

    The backend is None where Keras or it is not installed, the commit outside a checkout.
    """
    try:
        import keras
    except ModuleNotFoundError:  # an export needs neither Keras nor a backend
        keras = None

    return {
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "python": platform.python_version(),
        "backend": keras and keras.backend.backend(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "commit": _commit(),
    }


def describe() -> str:
    """The same for people, with the devices that the backend sees and, if there is no GPU among them, why."""
    found = environment()
    lines = [f"{name:24}{version}" for name, version in found.pop("versions").items()]
    lines += [f"{name:24}{value}" for name, value in found.items()]
    if found["backend"] is None:
        return "\n".join(lines)
    devices = _devices()
    lines.append(f"{'devices':24}{', '.join(devices)}")
    if not any("gpu" in device.lower() or "cuda" in device.lower() for device in devices):
        lines.append(f"{'no GPU because':24}{_why_no_gpu()}")
    return "\n".join(lines)


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _commit():
    folder = Path(__file__).parent
    if not (folder.parent / ".git").exists() or not shutil.which("git"):
        return None
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


def _devices():
    from keras.distribution import list_devices

    return list_devices() or ["cpu:0"]


def _why_no_gpu():
    if _version("tensorflow-cpu"):
        return (
            "tensorflow-cpu is installed, which has no GPU code: make a new environment with the extra gpu (README.md)"
        )
    if not (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        return "this machine shows no NVIDIA driver (no nvidia-smi, no /dev/nvidia0)"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return f"CUDA_VISIBLE_DEVICES is {os.environ['CUDA_VISIBLE_DEVICES']!r}, which hides every GPU"
    return (
        "a driver is there but the backend does not use it: its CUDA packages may be missing or too new for the driver"
    )


def free_memory() -> int:
    """Bytes that a new process may use: what the machine has free, or the container if that is less."""
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024
    limit, current, stat = (CGROUP / f"memory.{name}" for name in ("max", "current", "stat"))
    if limit.exists() and (most := limit.read_text().strip()) != "max":
        cached = re.search(r"^inactive_file (\d+)$", stat.read_text(), re.MULTILINE)  # given back when it is wanted
        free = min(free, int(most) - int(current.read_text()) + int(cached[1] if cached else 0))
    return free


def peak_memory() -> int:
    """Bytes that this process has held at most. `resource` would begin with the peak of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
