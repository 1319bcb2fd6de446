"""Weights & Biases and MLflow: what history.csv holds, on a tracking server or offline."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import keras

from visionkit.files import as_json, write_json
from visionkit.types import DataError

FILE = "logger.json"  # in the run's folder: by which id the service knows the run


class Logger(keras.callbacks.Callback, AbstractContextManager):
    """Sends the numbers of each epoch to a service, while its context is open.

    After an interruption they go to the same run of the service. Epochs that are trained again are sent again.

    Args:
        out: the run's folder.
        knobs: that the run was started with.
        begin: `(id, name, knobs) -> id` begins a run, or goes on with the run `id`.
        log: `(numbers, epoch)`.
        end: `(whether all went well)`.
    """

    def __init__(self, out: Path, knobs: dict, begin: Callable, log: Callable, end: Callable):
        super().__init__()
        self.file = out / FILE
        self.knobs = as_json(knobs)
        self.begin = begin
        self.log = log
        self.end = end

    def __enter__(self) -> "Logger":
        id = json.loads(self.file.read_text())["id"] if self.file.is_file() else None
        write_json(self.file, {"id": self.begin(id, self.file.absolute().parent.name, self.knobs)})
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        self.end(kind is None)

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        self.log({name: float(value) for name, value in logs.items()}, epoch + 1)


def logger(name: str, out: Path, knobs: dict) -> Logger:
    """The logger "wandb" or "mlflow" for the run in `out`; see `package`."""
    return Logger(out, knobs, *{"wandb": _wandb, "mlflow": _mlflow}[name](package(name), out))


def package(name: str) -> Any:
    """The Python package of a logger.

    Raises:
        DataError: it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        raise DataError(f"--log {name}: needs its package: pip install 'keras-visionkit[{name}]' ({error})") from error


def _wandb(wandb: Any, out: Path) -> tuple[Callable, Callable, Callable]:
    """With WANDB_MODE=offline everything stays in `out`/wandb, from where `wandb sync` sends it later."""

    def begin(id: str | None, name: str, knobs: dict) -> str:
        id = id or uuid4().hex[:8]
        wandb.init(id=id, name=name, config=knobs, dir=str(out), resume="allow")
        return id

    def end(well: bool) -> None:
        wandb.finish(exit_code=0 if well else 1)

    return begin, lambda numbers, epoch: wandb.log(numbers, step=epoch), end


def _mlflow(mlflow: Any, out: Path) -> tuple[Callable, Callable, Callable]:
    """MLFLOW_TRACKING_URI says where to, which may be a file; by default to where MLflow chooses."""

    def begin(id: str | None, name: str, knobs: dict) -> str:
        run = mlflow.start_run(run_id=id, run_name=name)
        if id is None:
            mlflow.log_params(knobs)
        return run.info.run_id

    def end(well: bool) -> None:
        mlflow.end_run("FINISHED" if well else "FAILED")

    return begin, lambda numbers, epoch: mlflow.log_metrics(numbers, step=epoch), end
