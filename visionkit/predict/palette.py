"""One colour per class id: always the same one, and clearly different from those of neighbouring ids."""

import colorsys

# Bright enough for photographs, and ordered so that the first few are far apart, however many are used.
FIRST = ("f4364c", "1e9bff", "ffbe0b", "2ecc71", "b14cff", "ff7a1a")
FIRST += ("12d6cf", "ff5fb0", "a3d912", "5b5bf0", "b5764a", "7f9bb3")
INK, PAPER = (17, 20, 24), (255, 255, 255)

Colour = tuple[int, int, int]  # RGB 0..255


def colour_of(label: int) -> Colour:
    """RGB 0..255 of a class id >= 0."""
    if label < len(FIRST):
        red, green, blue = bytes.fromhex(FIRST[label])
        return red, green, blue
    # Steps of the golden angle never repeat a hue; saturation and value vary in cycles of their own.
    turn = label - len(FIRST)
    red, green, blue = colorsys.hsv_to_rgb(
        (0.07 + 0.618034 * turn) % 1, (0.85, 0.55, 0.7)[turn % 3], (0.95, 0.75)[turn % 2]
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever is easier to read on `background`, by relative luminance (WCAG 2.1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in background)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast is equal at 0.18, but on a pure colour white is easier to read than contrast alone suggests.
    return PAPER if luminance < 0.28 else INK
