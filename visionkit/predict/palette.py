"""One colour for each class id: always the same one, and far from those of its neighbours."""

import colorsys

# Bright enough for photographs, and ordered so that any first few are far apart.
FIRST = ("f4364c", "1e9bff", "ffbe0b", "2ecc71", "b14cff", "ff7a1a")
FIRST += ("12d6cf", "ff5fb0", "a3d912", "5b5bf0", "b5764a", "7f9bb3")
INK, PAPER = (17, 20, 24), (255, 255, 255)


def colour_of(label: int) -> tuple[int, int, int]:
    """RGB 0..255 of a class id >= 0."""
    if label < len(FIRST):
        return tuple(bytes.fromhex(FIRST[label]))
    # The golden angle never comes back to a hue it had; saturation and value change with it in steps of their own.
    turn = label - len(FIRST)
    rgb = colorsys.hsv_to_rgb((0.07 + 0.618034 * turn) % 1, (0.85, 0.55, 0.7)[turn % 3], (0.95, 0.75)[turn % 2])
    return tuple(round(255 * channel) for channel in rgb)


def text_colour(background: tuple[int, int, int]) -> tuple[int, int, int]:
    """Black or white, whichever reads better on `background`, by its relative luminance (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in background)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return (
        PAPER if luminance < 0.28 else INK
    )  # equal contrast is at 0.18; on a pure colour white reads easier than that
