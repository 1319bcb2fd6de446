"""The verb selftest. Heavy imports are inside the functions."""

from pathlib import Path

import cyclopts

selftest = cyclopts.App(name="selftest", help="Prove on this machine what visionkit promises.")


@selftest.command(name="resume")
def selftest_resume(*, kills: int = 20, workers: int = 0, seed: int = 0) -> None:
    """Kill a small training at random moments, resume it, and compare the end with an uninterrupted one, bit by bit.

    Args:
        kills: how many; each costs a restart.
        workers: processes that read and augment images; 0 uses threads instead.
        seed: of the moments.
    """
    import shutil
    import tempfile

    from visionkit.environment import import_keras_quietly

    import_keras_quietly()
    from visionkit.checks.selftest import selftest_resume as prove

    folder = tempfile.mkdtemp(prefix="selftest-")
    print(prove(Path(folder), kills, workers, seed))
    shutil.rmtree(folder)  # after a failure it is kept, to be looked at
