"""A photo painted like a painting, by changing its pixels until a network sees the painting's style in them.

Gatys et al. 2016, "Image style transfer using convolutional neural networks". L-BFGS is SciPy's, Adam is Keras'.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np
from PIL import Image
from scipy.optimize import Bounds, minimize

from visionkit.resizing import resize
from visionkit.style.canvas import Canvas, Weights, compile_for_backend, gradient_of
from visionkit.style.colours import luma, match_luma, recolour
from visionkit.types import DataError

COARSEST = 128  # pixels; no size with a smaller long side is painted
FIRST_STEP = 2.0  # levels of 255, the root mean square of L-BFGS' first step
ADAM_RATE = 4.0  # levels of 255 per step at the start; it decays to 0

Tell = Callable[[int, dict[str, float]], None]  # (steps done at this size, losses)


@dataclass(frozen=True, kw_only=True)
class Step:
    """The state of an optimisation, as `paint` passes it to `progress`.

    Args:
        number: of this step, counted from 1 over all sizes; at the start of a size it repeats the last one, or 0.
        steps: of all sizes together; L-BFGS may stop earlier, when rounding hides any further descent.
        size: (height, width) of the picture at present.
        losses: {"loss", "content", "style", "smooth", "palette"}: the weighted sum, and each loss without its weight.
        picture: () -> the picture so far, uint8 `[h, w, 3]`.
    """

    number: int
    steps: int
    size: tuple[int, int]
    losses: dict[str, float]
    picture: Callable[[], np.ndarray]


def paint(
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    features: keras.Model,
    *,
    shares: Sequence[float] | None = None,
    size: int = 384,
    steps: int = 100,
    optimizer: str = "lbfgs",
    weights: Weights = Weights(),  # noqa: B008 (frozen)
    style_scale: float = 1.0,
    noise: float = 0.1,
    keep_colours: bool = False,
    mask: np.ndarray | None = None,
    seed: int = 0,
    progress: Callable[[Step], None] = lambda step: None,
) -> np.ndarray:
    """Paints `content` in the style of `styles`, from coarse to fine (Gatys et al. 2017, arXiv 1611.07865, section 6).

    Args:
        content: RGB uint8 `[H, W, 3]`.
        styles: paintings, RGB uint8 of any size.
        features: from `losses.take_features`, with its default levels.
        shares: how much of each style, at least 0 and not all 0; by default equal. The Gram matrices of the styles are
            averaged, which up to one factor per level gives the gradient of the averaged squared distances.
        size: long side of the result in pixels. Half of it is painted first, before that a quarter, and so on, as long
            as that is at least `COARSEST`.
        steps: at `size`; twice as many at half the size, where a step costs a quarter, and so on.
        optimizer: "lbfgs", or "adam", which needs more steps.
        weights: of the losses.
        style_scale: the paintings' long side over `size`; below 1 the strokes are finer.
        noise: 0..1, the share of random noise in the first picture; the rest is the content.
        keep_colours: paint only the brightness.
        mask: float `[H, W]`, 0..1, where to paint; elsewhere the content stays.
        seed: of the noise.
        progress: called at the start of every size and after each step.

    Returns:
        RGB uint8 `[h, w, 3]`, in the proportions of `content`.

    Raises:
        DataError: an argument is out of range; the message names it.
    """
    parts = np.ones(len(styles)) if shares is None else np.asarray(shares, np.float64)
    _check(content, styles, parts, size, steps, optimizer, style_scale, noise, mask)
    optimise = _lbfgs if optimizer == "lbfgs" else _adam
    sizes = _coarse_to_fine(size)
    counts = [steps * 2**halved for halved in reversed(range(len(sizes)))]
    done, picture = 0, None
    result = content
    for side, count in zip(sizes, counts, strict=True):
        photo = scaled(content, side)
        paintings = [scaled(style, max(16, round(side * style_scale))) for style in styles]
        if keep_colours:
            paintings = [match_luma(painting, photo) for painting in paintings]
        source = luma(photo) if keep_colours else photo.astype(np.float32)  # [h, w, C]
        if picture is None:
            picture = (1 - noise) * source + noise * np.random.default_rng(seed).uniform(0, 255, source.shape)
        picture = _stretched(picture, source.shape[:2])
        where = None if mask is None else _stretched(mask[..., None], source.shape[:2])
        canvas = Canvas(features, picture, source, paintings, parts / parts.sum(), weights, where)
        look = partial(_look, canvas, photo, keep_colours)
        optimise(canvas, count, partial(_tell, progress, done, sum(counts), photo.shape[:2], look))
        picture, result = canvas.picture(), look()
        done += count
    return result


def _coarse_to_fine(size: int) -> list[int]:
    """The long sides to paint at, in order; the last is `size`."""
    sizes = [size]
    while sizes[0] // 2 >= COARSEST:
        sizes.insert(0, sizes[0] // 2)
    return sizes


def _look(canvas: Canvas, photo: np.ndarray, keep_colours: bool) -> np.ndarray:
    """The picture on the canvas as RGB uint8 `[h, w, 3]`, with the photo's colours if they are kept."""
    painted = canvas.picture()
    if keep_colours:
        painted = recolour(painted, photo)
    return np.round(painted).clip(0, 255).astype(np.uint8)


def _tell(
    progress: Callable[[Step], None],
    done: int,
    steps: int,
    size: tuple[int, int],
    look: Callable[[], np.ndarray],
    number: int,
    losses: dict[str, float],
) -> None:
    """Passes a step to `progress`; `done` are the steps of earlier sizes, `number` those of this one."""
    progress(Step(number=done + number, steps=steps, size=size, losses=losses, picture=look))


def _lbfgs(canvas: Canvas, count: int, tell: Tell) -> None:
    """Takes `count` steps of L-BFGS."""
    evaluate, start = gradient_of(canvas), canvas.paint()
    losses, gradient = evaluate(start)
    tell(0, losses)
    # SciPy's first step is the gradient itself, about a millionth of a level; the scaled loss makes it FIRST_STEP.
    scale = FIRST_STEP / max(np.sqrt(np.mean(gradient**2)), 1e-30)
    latest: dict[str, float] = {}  # losses of the last evaluation

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        losses, gradient = evaluate(flat)
        latest.update(losses)
        return scale * losses["loss"], scale * gradient

    numbers = iter(range(1, count + 1))

    def after_step(_: np.ndarray) -> None:  # the last evaluation of a line search is the accepted one
        tell(next(numbers), dict(latest))

    # With tolerances of 0 it takes the steps that were asked for. The line search evaluates at most 20 times per step.
    options = {"maxiter": count, "maxfun": 20 * count, "ftol": 0.0, "gtol": 0.0, "maxcor": 10}
    result = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(0.0, 255.0),
        options=options,
        callback=after_step,
    )
    canvas.put(result.x)


def _adam(canvas: Canvas, count: int, tell: Tell) -> None:
    """Takes `count` steps of Adam."""
    rate = keras.optimizers.schedules.CosineDecay(ADAM_RATE, count)
    compile_for_backend(canvas, keras.optimizers.Adam(rate))  # pyright: ignore[reportArgumentType]  (or a schedule)
    for number in range(count):
        tell(number, canvas.step())
    tell(count, canvas.measure())


def _check(
    content: np.ndarray,
    styles: Sequence[np.ndarray],
    shares: np.ndarray,
    size: int,
    steps: int,
    optimizer: str,
    style_scale: float,
    noise: float,
    mask: np.ndarray | None,
) -> None:
    """Raises a `DataError` if an argument of `paint` is out of range."""

    def expect(ok: bool | np.bool_, what: str, found: object) -> None:
        if not ok:
            raise DataError(f"style transfer: expected {what}, found {found}")

    expect(len(styles) > 0, "at least one style", "none")
    expect(len(shares) == len(styles), f"{len(styles)} shares, one for each style", len(shares))
    expect(np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0, "shares >= 0, not all 0", shares)
    expect(size >= 32, "a size of at least 32 pixels", size)
    expect(steps >= 1, "at least 1 step", steps)
    expect(optimizer in ("lbfgs", "adam"), "the optimizer lbfgs or adam", repr(optimizer))
    expect(0 < style_scale <= 4, "a style_scale above 0, at most 4", style_scale)
    expect(0 <= noise <= 1, "noise of 0 to 1", noise)
    if mask is not None:
        expect(mask.shape == content.shape[:2], f"a mask of {content.shape[:2]}", mask.shape)
        expect(mask.max() > 0, "a mask that is not black", "one that paints nowhere")


def scaled(image: np.ndarray, long_side: int) -> np.ndarray:
    """uint8 `[H, W, 3]` resized to a long side of `long_side` pixels, in the same proportions."""
    h, w = image.shape[:2]
    factor = long_side / max(h, w)
    return resize(image, (max(1, round(h * factor)), max(1, round(w * factor))))


def _stretched(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float `[H, W, C]` resized to `size` (height, width), bilinear: float32 `[h, w, C]`."""
    h, w = size
    planes = (Image.fromarray(plane) for plane in np.moveaxis(values.astype(np.float32), -1, 0))
    return np.stack([np.asarray(plane.resize((w, h), Image.Resampling.BILINEAR)) for plane in planes], axis=-1)
