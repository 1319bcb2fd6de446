"""Opens a page in headless Chromium, as a reader's browser would, and hands back what it shows and complains of."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from visionkit.images import read_image

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
QUIET += " --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars"
COLOURS = 500  # letters, charts and pictures have more; an empty sheet has one
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium (.ci/run does)")


def open_page(page: Path, size: tuple[int, int], folder: Path, dark: bool = False) -> tuple[np.ndarray, list[str]]:
    """What a window shows, uint8 `[H, W, 3]`, and the lines of the browser's console.

    Args:
        size: (height, width) of the window.
        folder: for the screenshot and the browser's profile; must not hold either yet.
        dark: whether the reader's system is dark.
    """
    command = [CHROMIUM, "--headless", *QUIET.split(), f"--user-data-dir={folder / 'profile'}"]
    command += ["--enable-logging=stderr", "--v=0", f"--window-size={size[1]},{size[0]}"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={folder / 'shot.png'}"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=120)
    assert (folder / "shot.png").is_file(), done.stderr
    return read_image(folder / "shot.png"), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def check_page(page: Path, folder: Path) -> None:
    """On a light desk and a dark phone: no complaint, as many colours as a full page has, and paper of either kind."""
    shown = {}
    for name, size, dark in (("desk", (1600, 1200), False), ("phone", (1600, 390), True)):
        (folder / name).mkdir()
        image, console = open_page(page, size, folder / name, dark)
        assert console == [], f"{name}: {console}"
        assert image.shape == (*size, 3)
        colours = len(np.unique(image.reshape(-1, 3), axis=0))
        assert colours > COLOURS, f"{name}: {colours} colours"
        shown[name] = image[0, 0].mean()  # the paper
    assert shown["desk"] > 200
    assert shown["phone"] < 60
