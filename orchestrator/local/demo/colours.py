"""The dominant colours of an image, with common names."""

from collections import Counter
from dataclasses import dataclass

from PIL import Image

COLOURS_MAX = 5
_SHARE_MIN = 0.04
_SIDE_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """A colour that covers a part of an image."""

    name: str
    hex: str
    """``#rrggbb``."""
    share: float
    """Above 0, at most 1."""


def dominant(image: Image.Image) -> list[Colour]:
    """At most ``COLOURS_MAX`` colours, the largest first; colours of one name are merged.

    Transparent parts count as white, the colour of most pages.
    """
    small = image.convert("RGBA")
    small.thumbnail((_SIDE_MAX, _SIDE_MAX), Image.Resampling.NEAREST)
    flat = Image.new("RGBA", small.size, "white")
    flat.alpha_composite(small)
    few = flat.convert("RGB").quantize(16, method=Image.Quantize.MEDIANCUT)
    palette = few.getpalette() or []
    pixels = few.width * few.height
    shares: dict[str, float] = {}
    shown: dict[str, str] = {}
    # Image.getcolors is typed for all modes; for a palette image the values are bytes.
    counts = Counter(few.tobytes())
    for index, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])):
        red, green, blue = palette[3 * index : 3 * index + 3]
        name = name_of(red, green, blue)
        shares[name] = shares.get(name, 0.0) + count / pixels
        shown.setdefault(name, f"#{red:02x}{green:02x}{blue:02x}")
    found = sorted(shares.items(), key=lambda pair: -pair[1])[:COLOURS_MAX]
    return [
        Colour(name=name, hex=shown[name], share=round(share, 3))
        for place, (name, share) in enumerate(found)
        if place == 0 or share >= _SHARE_MIN
    ]


def name_of(red: int, green: int, blue: int) -> str:
    """The nearest named colour, by a distance that roughly follows human vision.

    Source: the "redmean" approximation, Riemersma, "Colour metric", compuphase.com.
    """

    def distance(named: tuple[int, int, int]) -> float:
        mean = (red + named[0]) / 2
        dr, dg, db = red - named[0], green - named[1], blue - named[2]
        return (2 + mean / 256) * dr * dr + 4 * dg * dg + (2 + (255 - mean) / 256) * db * db

    return min(_NAMES, key=lambda name: distance(_NAMES[name]))


_NAMES = {
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
    "light grey": (200, 200, 200),
    "white": (255, 255, 255),
    "red": (220, 30, 40),
    "dark red": (120, 10, 20),
    "orange": (255, 140, 0),
    "yellow": (250, 220, 40),
    "brown": (130, 80, 40),
    "beige": (230, 215, 180),
    "green": (40, 160, 60),
    "dark green": (10, 80, 30),
    "light green": (150, 220, 130),
    "teal": (20, 140, 140),
    "cyan": (60, 220, 230),
    "light blue": (140, 190, 240),
    "blue": (30, 80, 210),
    "navy": (10, 20, 90),
    "purple": (120, 40, 150),
    "pink": (250, 150, 190),
    "magenta": (230, 40, 200),
}
