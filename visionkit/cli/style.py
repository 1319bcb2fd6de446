"""The verb stylize. Heavy imports are inside the functions."""

import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import cyclopts

from visionkit.cli.models import PARTLY_DONE
from visionkit.cli.scale import Job, Scale, check_offered, everywhere, is_at_scale, open_painter, run_at_scale
from visionkit.types import DataError

_Many = cyclopts.Parameter(negative=())


def stylize(
    content: str,
    styles: Annotated[tuple[Path, ...], _Many] = (),
    /,
    *,
    out: str,
    model: Path | None = None,
    style: str | None = None,
    shares: Annotated[list[float] | None, _Many] = None,
    size: int | None = None,
    seed: int | None = None,
    keep_colours: bool = False,
    steps: int | None = None,
    optimizer: Literal["lbfgs", "adam"] | None = None,
    content_weight: float | None = None,
    style_weight: float | None = None,
    smooth_weight: float | None = None,
    palette_weight: float | None = None,
    style_scale: float | None = None,
    noise: float | None = None,
    mask: Path | None = None,
    preview: int | None = None,
    features: str | None = None,
    smoothing: float | None = None,
    scale: Annotated[Scale | None, cyclopts.Parameter(name="*")] = None,
) -> int:
    """Paint a photo like a painting: visionkit stylize PHOTO PAINTING... --out FILE, step by step; or, in one pass with
    a network trained for it: visionkit stylize PHOTOS_OR_VIDEO --model RUN --out FOLDER.

    Args:
        content: the photo; with --model also a folder, a glob or a video, or s3://BUCKET/... (docs/scale.md).
        styles: the paintings; not with --model.
        out: the picture to write, .png or .jpg; with --model a folder, or s3://BUCKET/...
        model: a run folder or .keras file of a style network.
        style: (with --model) one of its styles; by default its only one.
        shares: how much of each painting (by default equal shares), or of each style of the model: --shares 2 --shares
            1.
        size: long side of the picture in pixels; by default 384, with --model that of the photo.
        seed: of the noise; by default 0.
        keep_colours: paint only the brightness, and keep the colours of the photo.
        steps: of the optimizer; by default 100, twice as many at half the size, and so on down to 128 pixels.
        optimizer: by default lbfgs; adam needs more steps.
        content_weight: weight of the photo's content; by default 1.
        style_weight: weight of the painting's style; by default 20.
        smooth_weight: weight of smoothness; by default 0.5.
        palette_weight: weight of the blurred colours, which are to be the photo's, moved to the painting's; by default
            0.
        style_scale: size of the paintings relative to the picture; by default 1; less makes finer strokes.
        noise: share of noise in the picture that it starts from, 0 to 1; by default 0.1.
        mask: an image of the photo's proportions: white is painted, black stays as in the photo.
        preview: write the unfinished picture to OUT every so many steps.
        features: published weights of the VGG that judges the picture; by default vgg16_hed_bsds500.
        smoothing: (with --model, videos) how much a frame keeps of the one before, 0 to 1; by default 0.7.
    """
    weights = {"content": content_weight, "style": style_weight, "smooth": smooth_weight, "palette": palette_weight}
    knobs = {"seed": seed, "steps": steps, "optimizer": optimizer, "style_scale": style_scale, "noise": noise}
    scale = scale or Scale()
    at_scale = is_at_scale(scale, [content], out)
    if model is not None:
        weight_options = {f"{name}_weight": value for name, value in weights.items()}
        others = {"mask": mask, "preview": preview, "features": features}
        _refuse({**knobs, **weight_options, **others}, "is not for --model")
        if styles:
            raise DataError(f"{styles[0]}: a painting is not for --model, which knows its styles; leave it out")
        if at_scale:
            check_offered({"smoothing": smoothing is not None})
            return _paint_at_scale(model, content, out, scale, (style, shares, size, keep_colours))
        return _paint_in_one_pass(model, Path(content), Path(out), style, shares, size, keep_colours, smoothing)
    if at_scale:
        raise DataError("at scale, with --engine or a store, stylize needs --model RUN")
    _refuse({"style": style, "smoothing": smoothing}, "needs --model")
    if not styles:
        raise DataError("expected a painting behind the photo, or --model RUN; see visionkit stylize --help")
    job = _given(knobs) | {"size": size or 384, "shares": shares, "keep_colours": keep_colours}
    return _optimise(
        Path(content), styles, Path(out), job, _given(weights), mask, preview, features or "vgg16_hed_bsds500"
    )


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _refuse(options: Mapping[str, Any], why: str) -> None:
    """Raises a DataError about the first of the options that is given."""
    for name in _given(options):
        raise DataError(f"--{name.replace('_', '-')} {why}; leave it out")


def _paint_at_scale(model: Path, content: str, out: str, scale: Scale, look: tuple[Any, ...]) -> int:
    """Paints the photos of a store, or on an engine; `look` is what `open_painter` takes. Returns the exit code."""
    style, shares, size, keep_colours = look
    job = Job(
        tasks=("stylize",),
        formats=("parquet",),
        options={"style": style, "shares": shares, "size": size, "keep_colours": keep_colours},
        open=partial(open_painter, everywhere(model), style, shares, size, keep_colours),
        runtime="keras",
    )
    return PARTLY_DONE if run_at_scale(model, [content], out, scale, job) else 0


def _paint_in_one_pass(
    model: Path,
    content: Path,
    out: Path,
    style: str | None,
    shares: Sequence[float] | None,
    size: int | None,
    keep_colours: bool,
    smoothing: float | None,
) -> int:
    """Paints with a trained network; returns the exit code."""
    from visionkit.open_model import content_digest, keras_path, open_style_network

    network = open_style_network(keras_path(model))
    from visionkit.style.folder import choose, stylize_path

    share = choose(network.class_names, style, shares)
    options = {"size": size, "keep_colours": keep_colours, "smoothing": smoothing}
    done, failed = stylize_path(network, content, out, share, settings={"model": content_digest(model)}, **options)
    for error in failed:
        print(f"not read: {error}", file=sys.stderr)
    print(f"{done} pictures painted, {len(failed)} not read: {out}")
    return PARTLY_DONE if failed else 0


def _optimise(
    content: Path,
    styles: Sequence[Path],
    out: Path,
    knobs: dict[str, Any],
    weights: dict[str, float],
    mask: Path | None,
    preview: int | None,
    features: str,
) -> int:
    """Optimises one picture step by step; returns the exit code."""
    from visionkit.images import read_image, write_image
    from visionkit.resizing import resize

    if out.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{out}: expected a picture to write, .png or .jpg")
    if out.resolve() in [file.resolve() for file in (content, *styles, *([mask] if mask else []))]:
        raise DataError(f"{out}: would overwrite its source; name another with --out")
    photo, paintings = read_image(content), [read_image(file) for file in styles]  # fails before Keras is loaded
    area = None if mask is None else resize(read_image(mask), photo.shape[:2]).mean(axis=-1) / 255
    from visionkit.open_model import open_features

    network = open_features(features)
    from visionkit.style.canvas import Weights
    from visionkit.style.optimise import paint

    start, style_losses = time.monotonic(), []

    def progress(step: Any) -> None:
        style_losses.append(step.losses["style"])
        if step.number % 25 == 0 or step.number == step.steps:
            h, w = step.size
            losses = " ".join(f"{name} {value:.4g}" for name, value in step.losses.items())
            line = f"step {step.number}/{step.steps} | {w}x{h} | {losses} | {time.monotonic() - start:.0f} s"
            print(line, file=sys.stderr, flush=True)
        if preview and step.number and step.number % preview == 0:
            write_image(out, step.picture())

    picture = paint(photo, paintings, network, mask=area, weights=Weights(**weights), progress=progress, **knobs)
    write_image(out, picture)
    first, last = style_losses[0], max(style_losses[-1], 1e-12)
    print(f"style loss {first:.4g} -> {last:.4g} ({first / last:.1f}x), {time.monotonic() - start:.0f} s: {out}")
    return 0
