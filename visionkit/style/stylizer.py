"""Runs a StyleNetwork over pictures of any size; big ones in tiles that share their moments, so no seam can show."""

import math

import numpy as np

from visionkit.style.network import PERIOD, STRIDE, StyleNetwork
from visionkit.types import DataError

SMALLEST = 16  # pixels a side
WHOLE = 1_200_000  # pixels that are painted in one pass; above, tiles
TILE = 512  # pixels a side of a tile, without its halo
CROPS, CROP = 16, 192  # the moments of a big picture are those of so many squares of it, in all no more than a tile


class Stylizer:
    """Paints pictures with a trained network.

    Instance normalisation divides by what it finds in the WHOLE picture, so tiles that each find their own do not fit
    together. Here the moments are measured first, jointly over a grid of crops, layer by layer; with them given, the
    network is local, and a tile with a halo as wide as it can see gives what the whole picture would, if its grain
    begins where the picture's repeats.

    Args:
        model: the network; `shares` below are over its styles.
        whole: pixels of the largest picture that is painted in one pass.
        tile: side of a tile in pixels, a multiple of `PERIOD`, at least twice as much.

    Raises:
        ValueError: it is not.
    """

    def __init__(self, model: StyleNetwork, whole: int = WHOLE, tile: int = TILE):
        # Else grain would not go on where a neighbour's ends; and `seams` could not shift the grid by half a tile.
        if tile < 2 * PERIOD or tile % PERIOD:
            raise ValueError(f"expected a tile of a multiple of {PERIOD} pixels, at least {2 * PERIOD}, found {tile=}")
        self.class_names, self.whole, self.tile = list(model.class_names), whole, tile
        self.halo = math.ceil(model.halo / PERIOD) * PERIOD
        self._graphs = {"serving": model.serving(), "measuring": model.measuring(), "painting": model.painting()}
        for graph in self._graphs.values():
            graph.jit_compile = False  # every size would be compiled anew

    def __call__(self, image: np.ndarray, shares: np.ndarray, offset: tuple[int, int] = (0, 0)) -> np.ndarray:
        """Paints RGB uint8 `[H, W, 3]`, at least 16 pixels a side, in styles by their shares `[K]`, summing to 1.

        Args:
            offset: (y, x), multiples of `PERIOD` below `tile`, by which the grid of tiles is shifted; see `seams`.
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

    def _run(self, graph, images, shares, **more):
        inputs = {"images": images.astype(np.float32), "shares": np.repeat(shares, len(images), axis=0), **more}
        return self._graphs[graph].predict_on_batch(inputs)

    def moments(self, image: np.ndarray, shares: np.ndarray) -> list[np.ndarray]:
        """The moments `[1, 2, C]` of every layer, over a grid of crops of uint8 `[H, W, 3]`; shares `[1, K]`."""
        h, w = image.shape[:2]
        side_y, side_x = min(CROP, h), min(CROP, w)
        rows, columns = (math.ceil(math.sqrt(CROPS)) if n > CROP else 1 for n in (h, w))
        tops, lefts = np.linspace(0, h - side_y, rows).astype(int), np.linspace(0, w - side_x, columns).astype(int)
        crops = np.stack([image[y : y + side_y, x : x + side_x] for y in tops for x in lefts])
        return self._run("measuring", crops, shares)

    def _tiled(self, image, shares, offset):
        h, w = image.shape[:2]
        moments = [np.asarray(m) for m in self.moments(image, shares)]
        painted = np.empty_like(image)
        # Windows begin where the grain repeats. All have one size but the last, which end with the picture.
        side_y, side_x = (min(n, self.tile + 2 * self.halo) for n in (h, w))
        last_y, last_x = (math.ceil((n - side) / PERIOD) * PERIOD for n, side in ((h, side_y), (w, side_x)))
        for top in range(-offset[0], h, self.tile):
            for left in range(-offset[1], w, self.tile):
                y, x = min(max(top - self.halo, 0), last_y), min(max(left - self.halo, 0), last_x)
                window = image[None, y : y + side_y, x : x + side_x]
                found = _levels(self._run("painting", window, shares, moments=moments)[0])
                y1, x1 = max(top, 0), max(left, 0)
                y2, x2 = min(top + self.tile, h), min(left + self.tile, w)
                painted[y1:y2, x1:x2] = found[y1 - y : y2 - y, x1 - x : x2 - x]
        return painted

    def seams(self, image: np.ndarray, shares: np.ndarray) -> int:
        """The largest difference in grey levels between two paintings whose tiles are half a tile apart.

        What a seam shows in one of them lies inside a tile of the other, so this bounds every seam.
        """
        half = self.tile // 2 // PERIOD * PERIOD
        one, other = (self(image, shares, offset) for offset in ((0, 0), (half, half)))
        return int(np.abs(one.astype(np.int16) - other).max())


def _levels(painted):
    return np.clip(np.round(np.asarray(painted)), 0, 255).astype(np.uint8)
