"""The options that verbs share at scale, and what they do with them. Heavy imports are inside the functions."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from visionkit.types import DataError, plain

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


@dataclass(frozen=True)
class ScaleOptions:
    """Options of the verb that mean the same at any scale.

    Args:
        score: detections below it are left out.
        formats: which files are written in the end.
        tile: side of the tiles in pixels; None without tiles.
        batch_size: images a step.
        runtime: what runs the model.
        trust: open a SavedModel that does more than compute.
    """

    score: float
    formats: Sequence[str]
    tile: int | None
    batch_size: int
    runtime: "Runtime"
    trust: bool


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


def detect_at_scale(model: Path, images: Sequence[str], out: str, scale: Scale, options: ScaleOptions) -> int:
    """What `visionkit detect` does at scale; returns how many images could not be read."""
    _check_installed(scale)
    from visionkit.scale.collect import check_formats
    from visionkit.scale.forecast import forecast
    from visionkit.scale.manifest import whole_sources
    from visionkit.scale.run import finish, prepare, run
    from visionkit.scale.store import Unreachable, is_uri

    check_formats(options.formats)
    sources = whole_sources(images)
    out = out if is_uri(out) else str(Path(out).absolute())
    opener = partial(_open, model.absolute() if model.exists() else model, options)
    predictor = opener(options.runtime)
    if predictor.task not in ("detect", "instance"):
        raise DataError(f"the model is for the task {predictor.task}: use visionkit {predictor.task} on a local folder")
    try:
        if scale.plan:
            print(forecast(predictor, sources, scale.shard, options.score))
            return 0
        settings = _settings(model, predictor, sources, options, scale.shard)
        plan = prepare(out, settings, options.formats, scale.relist, scale.retry_errors)
        print(_about(plan), flush=True)
        run(plan, _engine(scale, predictor, partial(opener, _runtime_again(model, predictor.runtime))), progress=True)
        summary = finish(plan, options.formats)
    except (Unreachable, PermissionError) as error:
        raise DataError(str(error)) from error
    _report(summary, out)
    return summary.failed


def _open(model: Path, options: ScaleOptions, runtime: "Runtime") -> Any:
    """The predictor, here or in a worker."""
    from visionkit.open_model import open_predictor

    predictor: Any = open_predictor(model, options.batch_size, options.trust, runtime)
    if options.tile is None:
        return predictor
    from visionkit.predict.tiling import Tiled

    return Tiled(predictor, options.tile)


def _engine(scale: Scale, predictor: Any, opener: Any) -> "Engine":
    from visionkit.scale.shard import run_shard

    if scale.engine != "ray":
        return lambda work, names: (run_shard(predictor, work, name) for name in names)
    from visionkit.scale.ray import Cluster, run_on_ray

    cluster = Cluster(address=scale.address, workers=scale.workers, gpus=scale.gpus)
    runtime = predictor.runtime
    return lambda work, names: run_on_ray(opener, runtime, work, names, cluster)


def _settings(model: Path, predictor: Any, sources: list[str], options: ScaleOptions, shard: int) -> Any:
    from visionkit.open_model import content_digest
    from visionkit.scale.settings import Settings

    return Settings(
        model=content_digest(model),
        task=predictor.task,
        class_names=list(predictor.class_names),
        score=options.score,
        tile=options.tile,
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
    earlier = f" ({summary.earlier} of them earlier)" if summary.earlier else ""
    print(f"{summary.done} images done{earlier}, {summary.failed} not read, {summary.rows} rows of results: {out}")
