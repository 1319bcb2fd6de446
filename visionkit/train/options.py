"""How a run is carried out; what is trained is the recipe's business. Imports no framework."""

import os
from dataclasses import dataclass
from typing import Annotated, Literal

import cyclopts

# Knobs of recipes that begin with a trained model; `from` is a keyword of Python, so the parameter has another name.
From = Annotated[str | None, cyclopts.Parameter(name="--from")]
Map = Annotated[tuple[str, ...], cyclopts.Parameter(name="--map", consume_multiple=True)]
Precision = Literal["auto", "float32", "mixed_float16", "mixed_bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """None of these is a knob of a recipe, and none but the precision changes what is learned.

    Args:
        workers: processes that read and augment images; 0 uses threads.
        deterministic: repeats a run to the bit on a GPU too, where that is slower. A CPU does so anyway.
        precision: of the layers' arithmetic while training; weights, losses and the saved model are float32. auto
            takes mixed_bfloat16 where the device computes in it and a step is measured to be faster, else float32.
        checkpoint_minutes: a checkpoint is written at the end of every epoch, and after this many minutes without one.
        checkpoint_steps: and after this many steps without one; by default only the minutes count.
        keep_checkpoints: how many of the newest to keep, besides the best model; 1 or more.
        log: what also gets the numbers of each epoch. The run folder has them for tensorboard in any case; wandb and
            mlflow need the package of that name, and keep them offline if it is set to.
        devices: how many share each batch; auto takes all GPUs, those of all processes that train together.
    """

    workers: int = 0
    deterministic: bool = False
    precision: Precision = "float32"
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int | None = None
    keep_checkpoints: int = 3
    log: Literal["tensorboard", "wandb", "mlflow"] = "tensorboard"
    devices: int | Literal["auto"] = 1


def make_deterministic() -> None:
    """Makes the backend choose operations that give the same bits every time. Call it before Keras is imported."""
    os.environ["TF_DETERMINISTIC_OPS"] = "1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()
