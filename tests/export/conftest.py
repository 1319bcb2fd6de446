"""Photos of every kind that an exported model has to read."""

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Landscape, portrait, turned by EXIF, grey, with alpha, and a single pixel."""
    folder, random = tmp_path_factory.mktemp("photos"), np.random.default_rng(1)

    def picture(height, width):
        coarse = random.integers(0, 256, (height // 25, width // 25, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    turned = picture(300, 420)
    turned.getexif()[0x0112] = 6
    clear = picture(200, 333)
    clear.putalpha(clear.convert("L"))
    picture(375, 500).save(folder / "landscape.jpg")
    picture(440, 330).save(folder / "portrait.jpg")
    turned.save(folder / "turned.jpg", exif=turned.getexif())
    picture(96, 128).convert("L").save(folder / "grey.png")
    clear.save(folder / "alpha.png")
    Image.new("RGB", (1, 1), (200, 30, 90)).save(folder / "dot.png")
    return sorted(folder.iterdir())
