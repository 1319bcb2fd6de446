"""What the verbs that train have in common, and `visionkit selftest`. Heavy imports stand inside the functions."""

import time
from collections.abc import Callable
from pathlib import Path

import cyclopts

from visionkit.train.options import Options, make_deterministic


def print_scores(scores: dict) -> None:
    """Prints the numbers of `evaluate` or of a run that people look for."""
    wanted = ("mAP", "mAP50", "mAP75", "mAR100", "voc07_mAP50", "voc12_mAP50", "mask_mAP", "mask_mAP50")
    wanted += ("top1", "top5", "mIoU", "last_mIoU", "pixel_accuracy", "mean_accuracy", "boundary_f1")
    wanted += ("images", "seconds")
    print("  ".join(f"{key} {scores[key]:.4g}" for key in wanted if key in scores))
    for name, row in scores.get("per_class", {}).items():
        print("  " + f"{name:20} " + "  ".join(f"{key} {value:.4g}" for key, value in row.items()))
    for reason in scores.get("why", ()):
        print(f"mAP50 is about 0: {reason}")


def new_run(name: str) -> Path:
    """Where a run goes that was given no folder."""
    return Path("runs", name, time.strftime("%Y%m%d-%H%M%S"))


def train_and_say(recipe: Callable, knobs: dict, out: Path, recipe_file: Path | None, options: Options) -> None:
    """Runs a recipe and prints its scores; its `batch_size` may be "auto"."""
    from visionkit.train.largest_batch import largest_batch
    from visionkit.train.run import run

    if knobs.get("batch_size") == "auto":
        knobs["batch_size"] = largest_batch(recipe, knobs, recipe_file, options.precision)
    print_scores(run(recipe, knobs, out, recipe_file, options))
    print(f"run folder: {out}")


def check_and_say(recipe: Callable, knobs: dict) -> int:
    """Prints what `train.preflight` finds of a recipe; returns the exit code, 1 where something is wrong."""
    from visionkit.train.preflight import preflight

    rows = preflight(recipe, knobs)
    print("\n".join(map(str, rows)))
    return 0 if all(row.ok for row in rows) else 1


def resume_and_say(out: Path) -> None:
    """Continues a run and prints its scores."""
    from visionkit.environment import import_keras_quietly
    from visionkit.train.resume import read_started

    if read_started(out).options.deterministic:
        make_deterministic()
    import_keras_quietly()
    from visionkit.train.run import resume

    print_scores(resume(out))
    print(f"run folder: {out}")


selftest = cyclopts.App(name="selftest", help="Proofs on this machine of what visionkit promises.")


@selftest.command(name="resume")
def selftest_resume(*, kills: int = 20, workers: int = 0, seed: int = 0):
    """Kill a small training at random moments, resume it, and compare the end with an uninterrupted one, bit by bit.

    Args:
        kills: how many; each costs a start.
        workers: processes that read and augment images; 0 does it with threads.
        seed: of the moments.
    """
    import shutil
    import tempfile

    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.train.selftest import selftest_resume as prove

    folder = tempfile.mkdtemp(prefix="selftest-")
    print(prove(Path(folder), kills, workers, seed))
    shutil.rmtree(folder)  # where it fails, there is something to be seen in it
