"""`--precision auto`: bfloat16 where it makes the steps of a training faster here, and float32 elsewhere."""

import contextlib
import gc
import io
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import keras

from visionkit.train.devices import Devices
from visionkit.train.options import Options
from visionkit.train.recipe import Recipe, build_recipe
from visionkit.types import DataError

FASTER = 0.9  # bfloat16 is taken if its step takes less than this share of float32's: a smaller gain may be noise
WARM_UP, STEPS = 2, 5  # the steps that are not counted, and those that are, at most
SECONDS = 5.0  # after them no further step is taken, once there are 2
CPUINFO = Path("/proc/cpuinfo")
FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # of x86 processors, and of ARM's


def settled(options: Options, recipe_function: Callable[..., Recipe], knobs: dict) -> Options:
    """Returns `options` with a precision in place of "auto", and prints it with the reason; others are returned as is.

    bfloat16 is for devices that compute in it, GPUs among them, and is taken if a step of the recipe's last phase then
    takes less than nine tenths of its time in float32. Both are measured, on the first batch. Nothing of that is kept.

    Args:
        options: see `Options`.
        recipe_function, knobs: of the run.

    Raises:
        DataError: several devices share a batch.
    """
    if options.precision != "auto":
        return options
    if options.devices != 1:
        raise DataError(
            f"--precision auto is measured on one device; with --devices {options.devices} name a precision, float32 "
            "or mixed_bfloat16"
        )
    if not computes_in_bfloat16():
        print("precision: float32, since this processor does not compute in bfloat16 (--precision auto)")
        return replace(options, precision="float32")
    slow, fast = (_step(recipe_function, knobs, name) for name in ("float32", "mixed_bfloat16"))
    name = "mixed_bfloat16" if fast < FASTER * slow else "float32"
    print(
        f"precision: {name}; a step takes {1000 * slow:.0f} ms in float32 and {1000 * fast:.0f} ms in bfloat16 "
        "(--precision auto)"
    )
    return replace(options, precision=name)


def computes_in_bfloat16() -> bool:
    """Whether the processor, or a GPU, computes in bfloat16 itself, as far as the system tells.

    Others convert each number before and after, which is slower than float32.
    """
    if keras.distribution.list_devices("gpu"):
        return True
    if platform.system() != "Linux":
        return False
    lines = CPUINFO.read_text().splitlines()
    words = {word for line in lines if line.startswith(("flags", "Features")) for word in line.split()}
    return bool(words & FLAGS)


def _step(recipe_function: Callable[..., Recipe], knobs: dict, precision: str) -> float:
    """The seconds of the fastest of some steps."""
    keras.utils.clear_session()
    with contextlib.redirect_stdout(io.StringIO()):  # it will be built again, and then tell what it does
        recipe = build_recipe(recipe_function, knobs, precision)
    for phase in recipe.phases:
        phase.prepare()  # the later ones build on what the earlier ones froze
    model, phase = recipe.model, recipe.phases[-1]
    Devices().prepare(model)  # as the run does
    model.compile(optimizer=phase.optimizer, jit_compile=keras.backend.backend() == "jax")
    batch = next(iter(recipe.feed(phase)))
    times: list[float] = []
    begun = time.monotonic()
    while len(times) < WARM_UP + 2 or (len(times) < WARM_UP + STEPS and time.monotonic() - begun < SECONDS):
        start = time.perf_counter()
        model.train_on_batch(*batch)
        times.append(time.perf_counter() - start)
    del recipe, model, phase  # and with them their memory, which the training needs
    keras.utils.clear_session()
    gc.collect()
    return min(times[WARM_UP:])
