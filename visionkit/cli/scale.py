"""The options that verbs share at scale, and what they do with them. Heavy imports are inside the functions."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visionkit.types import BOX_TASKS, DataError, plain

if TYPE_CHECKING:
    from visionkit.fast.choice import Runtime
    from visionkit.scale.run import Engine, Plan, ScaleSummary


@dataclass(frozen=True, kw_only=True)
class Scale:
    """At scale (docs/scale.md).

    Args:
        engine: local runs in this process, ray in as many as there is room for, here or on a cluster. By default
            local where IMAGES or --out are in a store (s3://, gs://, az://, ...), and else neither.
        address: HOST:PORT of a running Ray cluster; by default Ray is started on this machine for this run.
        workers: (ray) how many processes; by default one for each CPU, or for each share of a GPU.
        gpus: (ray) for each worker, such as 0.5.
        shard: images that a worker does at a time, and that a file of results holds.
        retry_errors: do shards again in which images could not be read.
        relist: list the images again, for those that are new or changed.
        plan: only say how many images there are and how long they would take.
    """

    engine: Literal["local", "ray"] | None = None
    address: str | None = None
    workers: int | None = None
    gpus: float = 0.0
    shard: int = 256
    retry_errors: bool = False
    relist: bool = False
    plan: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a verb does at any scale.

    Args:
        tasks: of the models that it takes.
        formats: which files are written in the end.
        options: on which the results depend, by the names of the verb's options.
        open: opens the model in a runtime; is pickled for the workers.
        runtime: what runs the model.
    """

    tasks: Sequence[str]
    formats: Sequence[str]
    options: Mapping[str, Any] = field(default_factory=dict)
    open: Callable[["Runtime"], Any]
    runtime: "Runtime"


def is_at_scale(scale: Scale, images: Sequence[str], out: str) -> bool:
    """Whether a command is to run over a store or on an engine.

    Raises:
        DataError: options contradict each other, or are for an engine that was not asked for.
    """
    from visionkit.scale.store import is_uri

    if scale.shard < 1:
        raise DataError(f"--shard: expected 1 or more, found {scale.shard}")
    if scale.workers is not None and scale.workers < 1:
        raise DataError(f"--workers: expected 1 or more, found {scale.workers}")
    if scale.gpus < 0:
        raise DataError(f"--gpus: expected 0 or more, found {scale.gpus:g}")
    if scale.engine != "ray":
        for name, value in (("address", scale.address), ("workers", scale.workers), ("gpus", scale.gpus)):
            if value:
                raise DataError(f"--{name} is for --engine ray; leave it out")
    used = bool(scale.engine) or any(map(is_uri, [*images, out]))
    if not used and scale != Scale():
        option = next(name for name in ("retry_errors", "relist", "plan", "shard") if _differs(scale, name))
        raise DataError(f"--{option.replace('_', '-')} is for --engine local or ray; leave it out, or name one")
    return used


def check_offered(options: Mapping[str, Any]) -> None:
    """Raises a `DataError` about the first of the options that is given."""
    for name, given in options.items():
        if given:
            raise DataError(f"--{name}: not offered at scale, with --engine or a store; leave it out")


def run_at_scale(model: Path, images: Sequence[str], out: str, scale: Scale, job: Job) -> int:
    """What a verb does at scale; returns how many images could not be read."""
    _check_installed(scale)
    from visionkit.scale.collect import check_formats
    from visionkit.scale.forecast import forecast
    from visionkit.scale.manifest import whole_sources
    from visionkit.scale.run import finish, prepare, run
    from visionkit.scale.store import Unreachable, is_uri

    check_formats(job.formats, job.tasks[0])
    sources = whole_sources(images)
    out = out if is_uri(out) else str(Path(out).absolute())
    predictor = job.open(job.runtime)
    if predictor.task not in job.tasks:
        verb = "detect" if predictor.task in BOX_TASKS else predictor.task
        raise DataError(f"the model is for the task {predictor.task}: use visionkit {verb}")
    try:
        if scale.plan:
            print(forecast(predictor, sources, scale.shard, job.options.get("score")))
            return 0
        settings = _settings(model, predictor, sources, job, scale.shard)
        plan = prepare(out, settings, job.formats, scale.relist, scale.retry_errors)
        print(_about(plan), flush=True)
        run(plan, _engine(scale, predictor, partial(job.open, _runtime_again(model, predictor.runtime))), progress=True)
        summary = finish(plan, job.formats)
    except (Unreachable, PermissionError) as error:
        raise DataError(str(error)) from error
    except KeyboardInterrupt:
        kept = f"what was found in whole shards is kept in {out}, and the same command goes on from there"
        raise KeyboardInterrupt(f"interrupted; {kept}") from None
    _report(summary, out)
    return summary.failed


def local_data(data: str) -> Path:
    """DATA as a path: of a data set in a store, that of its copy on this machine."""
    from visionkit.scale.store import Unreachable, is_uri

    if not is_uri(data):
        return Path(data)
    from visionkit.scale.dataset import fetch_dataset

    try:
        copy, count = fetch_dataset(data)
    except (Unreachable, PermissionError) as error:
        raise DataError(str(error)) from error
    print(f"{data}: {count} files fetched, the others were here: {copy}", flush=True)
    return copy


def everywhere(model: Path) -> Path:
    """MODEL with an absolute path, if it is one, for workers that run in other folders."""
    return model.absolute() if model.exists() else model


def open_detector(model: Path, batch_size: int, trust: bool, tile: int | None, runtime: "Runtime") -> Any:
    """The predictor of `detect`, here or in a worker."""
    from visionkit.open_model import open_predictor

    predictor: Any = open_predictor(model, batch_size, trust, runtime)
    if tile is None:
        return predictor
    from visionkit.predict.tiling import Tiled

    return Tiled(predictor, tile)


def open_classifier(model: Path, batch_size: int, trust: bool, runtime: "Runtime") -> Any:
    """The predictor of `classify`, here or in a worker."""
    from visionkit.open_model import open_predictor

    return open_predictor(model, batch_size, trust, runtime)


def open_segmenter(model: Path, trust: bool, flip: bool, window: bool, runtime: "Runtime") -> Any:
    """The predictor of `segment`, here or in a worker."""
    from visionkit.open_model import open_predictor

    predictor = open_predictor(model, 8, trust, runtime).look(flip, window)
    if len(predictor.class_names) > 256:
        raise DataError(f"{model}: {len(predictor.class_names)} classes; a class map holds at most 256")
    return predictor


def open_painter(
    model: Path,
    style: str | None,
    shares: Sequence[float] | None,
    size: int | None,
    keep_colours: bool,
    runtime: "Runtime",
) -> Any:
    """The painter of `stylize`, here or in a worker; Keras runs it in any case."""
    from visionkit.open_model import keras_path, open_style_network

    network = open_style_network(keras_path(model))
    from visionkit.style.folder import Painter, choose

    return Painter(network, choose(network.class_names, style, shares), size, keep_colours)


def _engine(scale: Scale, predictor: Any, opener: Any) -> "Engine":
    from visionkit.scale.shard import run_shard

    if scale.engine != "ray":
        return lambda work, names: (run_shard(predictor, work, name) for name in names)
    from visionkit.scale.ray import Cluster, run_on_ray

    cluster = Cluster(address=scale.address, workers=scale.workers, gpus=scale.gpus)
    runtime = predictor.runtime
    return lambda work, names: run_on_ray(opener, runtime, work, names, cluster)


def _settings(model: Path, predictor: Any, sources: list[str], job: Job, shard: int) -> Any:
    from visionkit.open_model import content_digest
    from visionkit.scale.settings import Settings

    return Settings(
        model=content_digest(model),
        task=predictor.task,
        class_names=list(predictor.class_names),
        options=dict(job.options),
        runtime=predictor.runtime,
        sources=sources,
        shard=shard,
    )


def _runtime_again(model: Path, runtime: str) -> "Runtime":
    """The option that gives a predictor with this runtime again; an export has its own, and takes none."""
    from visionkit.export.exported import FILE

    if (model / FILE).is_file():
        return "keras"
    names: dict[str, Runtime] = {"openvino": "openvino", "onnx": "onnx"}
    return names.get(runtime.partition(" ")[0], "keras")


def _about(plan: "Plan") -> str:
    """What is to be done, in a line."""
    listed = plan.settings.listed
    when = f"{listed[:4]}-{listed[4:6]}-{listed[6:8]} {listed[9:11]}:{listed[11:13]} UTC"
    shards = f"{len(plan.names)} shards, {len(plan.pending)} of them to do"
    return f"{plan.settings.images} images in {shards}; listed {when} (--relist looks for new ones)"


def _check_installed(scale: Scale) -> None:
    for package, option in (("pyarrow", "images in a store, and --engine"), ("ray", "--engine ray")):
        if (package != "ray" or scale.engine == "ray") and find_spec(package) is None:
            raise DataError(
                f"{option}: {package} is not installed; it comes with visionkit's extra scale: "
                "pip install 'keras-visionkit[scale]'"
            )


def _differs(scale: Scale, name: str) -> bool:
    return getattr(scale, name) != getattr(Scale(), name)


def _report(summary: "ScaleSummary", out: str) -> None:
    for error in summary.errors:
        print(plain(f"not read: {error}"), file=sys.stderr)
    if summary.failed > len(summary.errors):
        print(f"and {summary.failed - len(summary.errors)} more; the results name them", file=sys.stderr)
    earlier = f" ({summary.earlier} of these by an earlier run)" if summary.earlier else ""
    print(f"{summary.done} images done, {summary.failed} not read{earlier}, {summary.rows} rows of results: {out}")
