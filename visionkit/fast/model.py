"""A model in its fast form, in the place of a Task; and the one line that says what computes."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from visionkit.export import onnx
from visionkit.export.exported import read_metadata
from visionkit.export.openvino import OpenVINO
from visionkit.fast.choice import MAKERS, asked, can_make, pays, runtime_for
from visionkit.fast.kept import FOLDER, Fast, Source, find
from visionkit.types import DataError, plain


class FastModel:
    """Stands where a Predictor expects a Task. Images that suit another size than the form's are left to the Task.

    Args:
        folder: the export.
        runtime: "openvino" or "onnx".
        precision: "float32" or "bfloat16".
        open_task: opens the model with Keras; called when the first such image comes.

    Raises:
        DataError: the export is broken.
    """

    def __init__(self, folder: Path, runtime: str, precision: str, open_task: Callable[[], Any]):
        load = OpenVINO(runtime, precision).load if runtime == "openvino" else onnx.load
        self._exported, self._open_task, self._opened = load(folder), open_task, None
        self.runtime = runtime if precision == "float32" else f"{runtime} {precision}"
        self.any_size: bool = read_metadata(folder).get("any_size", False)

    def __getattr__(self, name: str) -> Any:
        if name in ("task", "class_names", "image_size", "channels", "resize", "licence", "calibration"):
            return getattr(self._exported, name)
        raise AttributeError(name)

    def serving(self) -> Any:
        """The export, which gives what the Task's serving model gives."""
        return self._exported.serving()

    def for_size(self, image_size: tuple[int, int]) -> Any:
        """The Task for images of another size: a portrait or a square, see `resizing.turned`."""
        if self._opened is None:
            self._opened = self._open_task()
        return self._opened.for_size(image_size)


def fast_model(
    source: Callable[[], Source],
    runtime: str,
    size: Callable[[], int],
    images: Callable[[], Sequence[Path]],
    keras_file: Callable[[], Any],
    open_task: Callable[[], Any],
) -> FastModel | None:
    """The fast form of a model where there is one or it is to be made now; None where Keras is to run the model.

    Says which in one line on stderr, unless nobody asked and nothing was there.

    Args:
        source: gives the model; called only where a runtime other than Keras is installed.
        runtime: one of `choice.Runtime`.
        size: gives the bytes of the model.
        images: gives the files that wait for the model.
        keras_file: a context manager that yields the model's .keras file.
        open_task: see `FastModel`.
    """
    wanted = asked(runtime)
    name = runtime_for(wanted)
    if name is None:
        return None
    model = source()
    found = find(model, name)
    if found is None and can_make(name):
        files = images()
        if wanted != "auto" or pays(len(files), size()):
            found = _make_now(model, name, files, keras_file)
    elif found is None and wanted != "auto":
        say(f"runtime: keras; there is no form for {name} yet, and making one needs {', '.join(MAKERS[name])}")
    if found is None:
        return None
    folder, fast = found
    if fast.refused:
        say(f"runtime: keras; no form for {name}: {fast.refused}")
        return None
    try:
        opened = FastModel(folder / name, name, fast.precision, open_task)
    except DataError as error:
        say(f"runtime: keras; {error}")
        return None
    say(f"runtime: {told(folder, name, fast)}")
    return opened


def _make_now(
    model: Source, runtime: str, images: Sequence[Path], keras_file: Callable[[], Any]
) -> tuple[Path, Fast] | None:
    """Makes the form of a model; None where it could not be written, which is said."""
    from visionkit.fast.make import make

    say(f"making the model's fast form for {runtime}, once (--runtime keras goes without)")
    try:
        with keras_file() as file:
            return make(model, file, runtime, images)
    except (DataError, OSError) as error:
        say(f"runtime: keras; the fast form could not be written: {error}")
        return None


def told(folder: Path, runtime: str, fast: Fast) -> str:
    """What a form is and how it was proven, in a line."""
    line = f"{runtime} in {fast.precision}"
    line += f", equal to the model on {fast.images} images" if fast.images else ""
    if fast.scores:
        row = fast.scores
        line += f" ({row['metric']} {row['float32']:.4f} in float32, {row['bfloat16']:.4f} in bfloat16)"
    return f"{line}: {folder / runtime}"


def keep_form(run: Path, data: Any) -> str:
    """Writes the fast form of a run that has ended, for the runtime that would be used; returns a line about it.

    Whatever goes wrong is told in that line: the training has succeeded.

    Args:
        run: the run folder.
        data: its validation data, or else its training data.
    """
    from visionkit.fast.kept import source_of
    from visionkit.fast.make import make

    try:
        name = runtime_for(asked("auto"))
        if name is None or not can_make(name):
            return ""
        say(f"writing the model's form for {name}, and comparing it (VISIONKIT_RUNTIME=keras goes without)")
        folder, fast = make(source_of(run), run / "model.keras", name, data=data)
    except Exception as error:
        return f"no fast form was kept in {run / FOLDER}: {error}"
    if fast.refused:
        return f"no fast form for {name}: {fast.refused}; Keras runs the model"
    return f"fast form: {told(folder, name, fast)}"


def say(line: str) -> None:
    """Prints a line to stderr, where it is in no table's way."""
    print(plain(line), file=sys.stderr, flush=True)
