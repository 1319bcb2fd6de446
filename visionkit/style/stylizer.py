"""Runs a StyleNetwork over pictures of any size; big ones in tiles with common moments, so that no seams show."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from visionkit.style.network import PERIOD, STRIDE, StyleNetwork
from visionkit.types import DataError

SMALLEST = 16  # pixels a side
WHOLE = 1_200_000  # pixels; larger pictures are painted in tiles
TILE = 512  # side of a tile in pixels, without its halo
CROPS, CROP = 16, 192  # moments of a big picture are measured on this many square crops of this side in pixels


class Stylizer:
    """Paints pictures with a trained network.

    Instance normalisation uses moments of the WHOLE picture, so tiles normalised by their own moments do not fit
    together. Here the moments are measured first, jointly over a grid of crops, layer by layer. With given moments the
    network is local: a tile with a halo as wide as the network can see gives the same as the whole picture would, if it
    starts where the grain repeats.

    Args:
        model: the network; `shares` below are over its styles.
        whole: pixels of the largest picture that is painted in one pass.
        tile: side of a tile in pixels, a multiple of `PERIOD` and at least twice that.

    Raises:
        ValueError: `tile` is something else.
    """

    def __init__(self, model: StyleNetwork, whole: int = WHOLE, tile: int = TILE):
        # So that the grain continues across tiles, and `seams` can shift the grid by half a tile.
        if tile < 2 * PERIOD or tile % PERIOD:
            raise ValueError(f"expected a tile of a multiple of {PERIOD} pixels, at least {2 * PERIOD}, found {tile=}")
        self.class_names, self.whole, self.tile = list(model.class_names), whole, tile
        self.halo = math.ceil(model.halo / PERIOD) * PERIOD
        self._graphs = {"serving": model.serving(), "measuring": model.measuring(), "painting": model.painting()}
        for graph in self._graphs.values():
            graph.jit_compile = False  # every new size would be compiled

    def __call__(
        self, image: np.ndarray, shares: np.ndarray | Sequence[float], offset: tuple[int, int] = (0, 0)
    ) -> np.ndarray:
        """Paints a picture.

        Args:
            image: RGB uint8 `[H, W, 3]`, at least 16 pixels a side.
            shares: `[K]`, how much of each style, summing to 1.
            offset: (y, x), multiples of `PERIOD` below `tile`, by which the grid of tiles is shifted; see `seams`.

        Returns:
            RGB uint8 `[H, W, 3]`.

        Raises:
            DataError: the picture is too small.
        """
        h, w = image.shape[:2]
        if min(h, w) < SMALLEST:
            raise DataError(f"expected a picture of at least {SMALLEST} pixels a side, found {w}x{h}")
        below, right = -h % STRIDE, -w % STRIDE
        image = np.pad(image, ((0, below), (0, right), (0, 0)), mode="reflect")
        shares = np.asarray(shares, np.float32)[None]  # [1, K]
        if h * w <= self.whole:
            painted = _levels(self._run("serving", image[None], shares)[0])
        else:
            painted = self._tiled(image, shares, offset)
        return painted[:h, :w]

    def _run(self, graph: str, images: np.ndarray, shares: np.ndarray, **further: Any) -> Any:
        """What one of the graphs gives for `[B, H, W, 3]`; shares `[1, K]` are the same for all images."""
        inputs = {"images": images.astype(np.float32), "shares": np.repeat(shares, len(images), axis=0), **further}
        return self._graphs[graph].predict_on_batch(inputs)

    def moments(self, image: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
        """The moments of every layer, measured jointly over a grid of crops.

        Args:
            image: uint8 `[H, W, 3]`.
            shares: `[1, K]`.

        Returns:
            `[1, 2, C]` for each layer.
        """
        h, w = image.shape[:2]
        side_y, side_x = min(CROP, h), min(CROP, w)
        rows, columns = (math.ceil(math.sqrt(CROPS)) if n > CROP else 1 for n in (h, w))
        tops = np.linspace(0, h - side_y, rows).astype(int)
        lefts = np.linspace(0, w - side_x, columns).astype(int)
        crops = np.stack([image[y : y + side_y, x : x + side_x] for y in tops for x in lefts])
        return self._run("measuring", crops, shares)

    def _tiled(self, image: np.ndarray, shares: np.ndarray, offset: tuple[int, int]) -> np.ndarray:
        h, w = image.shape[:2]
        moments = [np.asarray(m) for m in self.moments(image, shares)]
        painted = np.empty_like(image)
        # Windows start where the grain repeats. All have the same size except the last, which end with the picture.
        side = self.tile + 2 * self.halo
        side_y, side_x = min(h, side), min(w, side)
        last_y = math.ceil((h - side_y) / PERIOD) * PERIOD
        last_x = math.ceil((w - side_x) / PERIOD) * PERIOD
        for top in range(-offset[0], h, self.tile):
            for left in range(-offset[1], w, self.tile):
                y, x = min(max(top - self.halo, 0), last_y), min(max(left - self.halo, 0), last_x)
                window = image[None, y : y + side_y, x : x + side_x]
                result = _levels(self._run("painting", window, shares, moments=moments)[0])
                y1, x1 = max(top, 0), max(left, 0)
                y2, x2 = min(top + self.tile, h), min(left + self.tile, w)
                painted[y1:y2, x1:x2] = result[y1 - y : y2 - y, x1 - x : x2 - x]
        return painted

    def seams(self, image: np.ndarray, shares: np.ndarray) -> int:
        """The largest difference in grey levels between two paintings whose grids of tiles are half a tile apart.

        A seam of one painting is inside a tile of the other, so this bounds how much any seam can show.
        """
        half = self.tile // 2 // PERIOD * PERIOD
        one, other = (self(image, shares, offset) for offset in ((0, 0), (half, half)))
        return int(np.abs(one.astype(np.int16) - other).max())


def _levels(painted: Any) -> np.ndarray:
    return np.clip(np.round(np.asarray(painted)), 0, 255).astype(np.uint8)
