"""A search by several processes that trains nothing: `python searching.py OUT STORAGE TRIALS SECONDS`.

A training takes SECONDS. It leaves a line in OUT/../begun.txt when it begins, with the number of the process and
whether an earlier one left something in the folder, and an empty file in OUT/../ended, which there must not be yet.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from support.tiny_classifier import recipe

from visionkit.experiments import search, together

SPACE = "lr=1e-4..1e1:log,batch_size=8|16"


def plan(lr: float, batch_size: int = 8, **others):
    return recipe(lr=lr)


def knobs_with(values):
    return {"lr": float(values["lr"]), "batch_size": int(values["batch_size"])}


def pretending(seconds, stop_at=()):
    """Stands for `runs.finish`: the score is best at a rate of 0.1. Each name in `stop_at` is one Ctrl-C."""
    stops = list(stop_at)

    def finish(recipe, knobs, out, recipe_file, options, watch):
        went_on = out.exists()
        out.mkdir(exist_ok=True)
        with (out.parents[1] / "begun.txt").open("a") as file:
            file.write(f"{out.name} {os.getpid()} {went_on}\n")
        if out.name in stops:
            stops.remove(out.name)
            raise KeyboardInterrupt
        time.sleep(seconds)
        score = 0.9 - 0.2 * abs(np.log10(knobs["lr"]) + 1)
        watch([{"epoch": 1, "val_top1": score}])
        (out / "history.csv").write_text(f"epoch,val_top1\n1,{score}\n")
        (out.parents[1] / "ended" / out.name).open("x").close()
        return {"top1": score, "seconds": seconds}

    return finish


if __name__ == "__main__":
    out, storage, trials, seconds = sys.argv[1:]
    together.HEARTBEAT, together.STALE = 1, 3
    search.finish = pretending(float(seconds))
    together.search_together(plan, knobs_with, SPACE, int(trials), Path(out), storage)
