"""A photo painted like a painting, by changing its pixels until a network sees the painting's style in them.

Gatys et al. 2016, "Image style transfer using convolutional neural networks". L-BFGS is SciPy's, Adam is Keras'.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from PIL import Image
from scipy.optimize import Bounds, minimize

from visionkit.resizing import resize
from visionkit.style.canvas import Canvas, Weights, gradient_of
from visionkit.style.colours import luma, match_luma, recolour
from visionkit.types import DataError

COARSEST = 128  # pixels of the long side; halving ends before it
FIRST_STEP = 2.0  # levels of 255, root mean square, of L-BFGS at first
ADAM_RATE = 4.0  # levels of 255 a step, at first; it falls to 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where an optimisation stands; what `paint` tells its `progress`.

    Args:
        number: this step, from 1; 0 is the start of a size.
        steps: of all sizes; L-BFGS may end sooner, where rounding hides the way down.
        size: (height, width) it works at.
        losses: {"loss", "content", "style", "smooth", "palette"}: the sum by weight, and each without its weight.
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
        features: of `losses.take_features`, with its default levels.
        shares: how much of each style, at least 0, not all 0; by default alike. Their Gram matrices are averaged, which
            has, up to a factor a level, the gradient of the average of the squared distances to each.
        size: long side of the result in pixels. Before it come half of it, a quarter and so on, down to `COARSEST`.
        steps: at `size`; twice as many at half of it, where a step costs a quarter, and so on.
        optimizer: "lbfgs", or "adam", which takes more steps.
        weights: of the losses.
        style_scale: the paintings' long side over `size`: below 1 gives finer strokes.
        noise: 0..1, the share of noise in the start, drawn by `seed`; the rest is the content.
        keep_colours: paint the brightness only.
        mask: float `[H, W]` 0..1, where to paint; elsewhere the content stays.
        progress: called at the start of every size and after each step.

    Returns:
        RGB uint8 `[h, w, 3]`, the proportions of `content`.

    Raises:
        DataError: an argument is out of its range; says which.
    """
    shares = np.ones(len(styles)) if shares is None else np.asarray(shares, np.float64)
    _check(content, styles, shares, size, steps, optimizer, style_scale, noise, mask)
    sizes = [size]
    while sizes[0] // 2 >= COARSEST:
        sizes.insert(0, sizes[0] // 2)
    counts = [steps * 2**halved for halved in reversed(range(len(sizes)))]
    picture, done = None, 0
    for side, count in zip(sizes, counts, strict=True):
        photo = scaled(content, side)
        paintings = [scaled(style, max(16, round(side * style_scale))) for style in styles]
        if keep_colours:
            paintings = [match_luma(painting, photo) for painting in paintings]
        source = luma(photo) if keep_colours else photo.astype(np.float32)  # [h, w, C]
        if picture is None:
            drawn = np.random.default_rng(seed).uniform(0, 255, source.shape)
            picture = (1 - noise) * source + noise * drawn
        picture = _stretched(picture, source.shape[:2])
        where = None if mask is None else _stretched(mask[..., None], source.shape[:2])
        canvas = Canvas(features, picture, source, paintings, shares / shares.sum(), weights, where)

        def look(canvas=canvas, photo=photo):
            painted = canvas.picture()
            return np.round(recolour(painted, photo) if keep_colours else painted).clip(0, 255).astype(np.uint8)

        def tell(number, losses, look=look, done=done, size=photo.shape[:2]):
            progress(Step(number=done + number, steps=sum(counts), size=size, losses=losses, picture=look))

        (_lbfgs if optimizer == "lbfgs" else _adam)(canvas, count, tell)
        picture, done = canvas.picture(), done + count
    return look()


def _lbfgs(canvas, count, tell):
    evaluate, latest, start = gradient_of(canvas), {}, canvas.paint()
    losses, gradient = evaluate(start)
    tell(0, losses)
    # SciPy's first step is the gradient itself, some millionth of a level: the loss is scaled for FIRST_STEP levels.
    scale = FIRST_STEP / max(np.sqrt(np.mean(gradient**2)), 1e-30)

    def objective(flat):
        losses, gradient = evaluate(flat)
        latest.update(losses)
        return scale * losses["loss"], scale * gradient

    numbers = iter(range(1, count + 1))

    def after_step(_):  # a line search ends with the evaluation that it accepts
        tell(next(numbers), dict(latest))

    # Tolerances of 0: the steps are what the user asked for. SciPy's line search evaluates at most 20 times a step.
    options = {"maxiter": count, "maxfun": 20 * count, "ftol": 0.0, "gtol": 0.0, "maxcor": 10}
    bounds = Bounds(np.zeros_like(start), np.full_like(start, 255.0))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=after_step)
    canvas.put(found.x)


def _adam(canvas, count, tell):
    rate = keras.optimizers.schedules.CosineDecay(ADAM_RATE, count)
    canvas.compile(optimizer=keras.optimizers.Adam(rate), jit_compile=keras.backend.backend() == "jax")
    for number in range(count):
        tell(number, canvas.step())
    tell(count, canvas.measure())


def _check(content, styles, shares, size, steps, optimizer, style_scale, noise, mask):
    def expect(ok, what, found):
        if not ok:
            raise DataError(f"style transfer: expected {what}, found {found}")

    expect(len(styles) > 0, "at least one style", "none")
    expect(len(shares) == len(styles), f"{len(styles)} shares, one a style", len(shares))
    expect(np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0, "shares >= 0, not all 0", shares)
    expect(size >= 32, "a size of at least 32 pixels", size)
    expect(steps >= 1, "at least 1 step", steps)
    expect(optimizer in ("lbfgs", "adam"), "the optimizer lbfgs or adam", repr(optimizer))
    expect(0 < style_scale <= 4, "a style_scale above 0, at most 4", style_scale)
    expect(0 <= noise <= 1, "noise of 0 to 1", noise)
    expect(
        mask is None or mask.shape == content.shape[:2], f"a mask of {content.shape[:2]}", mask is None or mask.shape
    )
    expect(mask is None or mask.max() > 0, "a mask that is not black", "one that paints nowhere")


def scaled(image: np.ndarray, long_side: int) -> np.ndarray:
    """uint8 `[H, W, 3]` resized to a long side of `long_side` pixels, in its proportions."""
    h, w = image.shape[:2]
    factor = long_side / max(h, w)
    return resize(image, (max(1, round(h * factor)), max(1, round(w * factor))))


def _stretched(values, size):
    """float `[H, W, C]` resized to (height, width), bilinear: float32."""
    h, w = size
    planes = (Image.fromarray(plane) for plane in np.moveaxis(values.astype(np.float32), -1, 0))
    return np.stack([np.asarray(plane.resize((w, h), Image.Resampling.BILINEAR)) for plane in planes], axis=-1)
