"""Reference image understanding: describes in sentences what Pillow reports."""

import io
import struct
import threading

from msgspec import Struct
from PIL import ExifTags, Image, UnidentifiedImageError

from orchestrator.local.demo import base64_bytes
from orchestrator.local.demo.answer import Answer, BadInputError, check_wanted, dump, load
from orchestrator.local.demo.colours import Colour, dominant

PIXELS_MAX = 20_000_000
"""A larger image is refused before it is decoded: some kilobytes can claim gigabytes."""

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP")

_EXIF_MAX = 24
_EXIF_CHARS_MAX = 80


class ExtractInput(Struct, frozen=True):
    """Input of the method ``Extract``; other fields are ignored."""

    image: str
    """PNG, JPEG, GIF, WebP or BMP as base64; the first picture of an animation counts."""


class ExtractOutput(Struct, frozen=True):
    """Output of ``Extract``; ``text`` describes the image in sentences."""

    format: str
    width: int
    height: int
    mode: str
    """Pillow's name for the kind of pixel, such as ``RGB``."""
    colours: list[Colour]
    exif: dict[str, str]
    """Tags of the main directory that are text or numbers, cut to 80 characters each."""
    text: str


def extract(request: str, stop: threading.Event) -> Answer:
    """Answer an ``Extract`` call; it costs nothing, so it has no usage.

    Raises:
        BadInputError: ``INPUT_INVALID``, ``IMAGE_NOT_BASE64``, ``IMAGE_EMPTY``,
            ``IMAGE_UNREADABLE`` or ``IMAGE_TOO_LARGE``.
        GivenUpError: ``stop`` was set.
    """
    asked = load(request, ExtractInput)
    data = base64_bytes.decode(asked.image, what="image")
    check_wanted(stop)
    try:
        output = _seen(data)
    except Image.DecompressionBombError as error:
        raise BadInputError("IMAGE_TOO_LARGE", "the image claims too many pixels") from error
    except _BROKEN as error:
        known = ", ".join(FORMATS)
        raise BadInputError("IMAGE_UNREADABLE", f"no readable image ({known})") from error
    return Answer(output=dump(output))


def _seen(data: bytes) -> ExtractOutput:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        if image.width * image.height > PIXELS_MAX:
            raise BadInputError(
                "IMAGE_TOO_LARGE",
                f"{image.width} x {image.height} pixels; at most {PIXELS_MAX} may be",
            )
        name = image.format or ""
        exif = _exif(image)
        colours = dominant(image)
        return ExtractOutput(
            format=name,
            width=image.width,
            height=image.height,
            mode=image.mode,
            colours=colours,
            exif=exif,
            text=_said(name, image, colours, exif),
        )


def _exif(image: Image.Image) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag, value in list(image.getexif().items())[:_EXIF_MAX]:
        if isinstance(value, str | int | float):
            text = "".join(char if char.isprintable() else " " for char in str(value))
            name = ExifTags.TAGS.get(tag, f"tag {tag}")
            found[name] = text.strip()[:_EXIF_CHARS_MAX]
    return found


def _said(name: str, image: Image.Image, colours: list[Colour], exif: dict[str, str]) -> str:
    width, height = image.size
    shape = "square" if width == height else "wide" if width > height else "tall"
    parts = [f"{c.name} ({c.hex}, {c.share:.0%})" for c in colours]
    listed = " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))
    sentences = [
        f"The image is a {shape} {name} picture with a size of {width} x {height} pixels.",
        f"The dominant colours of the image are {listed}."
        if len(parts) > 1
        else f"The dominant colour of the image is {listed}.",
    ]
    if camera := " ".join(filter(None, (exif.get("Make"), exif.get("Model")))):
        sentences.append(f"The image was taken with the camera {camera}.")
    if taken := exif.get("DateTime"):
        sentences.append(f"The image was taken at {taken}.")
    return " ".join(sentences)


# Pillow's readers raise all of these for files that are cut, mutated or forged (Pillow's own
# documentation names only OSError).
_BROKEN = (
    UnidentifiedImageError,
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    struct.error,
)
