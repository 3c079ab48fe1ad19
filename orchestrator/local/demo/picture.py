"""A small picture that is painted here, so that its content is known exactly."""

import io

from PIL import Image, ImageDraw

_CAMERA_MAKE, _CAMERA_MODEL, _TAKEN_AT = 271, 272, 306


def sunset() -> bytes:
    """A JPEG: orange sky, a yellow sun, the navy sea; with the EXIF tags of a camera."""
    image = Image.new("RGB", (320, 200), (255, 140, 0))
    draw = ImageDraw.Draw(image)
    draw.ellipse((200, 40, 260, 100), fill=(250, 220, 40))
    draw.rectangle((0, 120, 320, 200), fill=(10, 20, 90))
    exif = Image.Exif()
    exif[_CAMERA_MAKE] = "Orchestra"
    exif[_CAMERA_MODEL] = "Painter 1"
    exif[_TAKEN_AT] = "2025:10:26 18:30:00"
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()
