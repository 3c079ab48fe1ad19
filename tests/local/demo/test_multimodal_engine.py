"""What is in an image is seen, and what is no image, or too much of one, is refused."""

import base64
import io
import json
import random
import struct
import threading
import zlib
from typing import Any

import pytest
from PIL import Image

from orchestrator.local.demo.answer import BadInputError
from orchestrator.local.demo.colours import name_of
from orchestrator.local.demo.multimodal_engine import extract
from orchestrator.local.demo.picture import sunset


def a_request(data: bytes) -> str:
    return json.dumps({"image": base64.b64encode(data).decode()})


def seen(data: bytes) -> dict[str, Any]:
    output: dict[str, Any] = json.loads(extract(a_request(data), threading.Event()).output)
    return output


def code_of(request: str) -> str:
    with pytest.raises(BadInputError) as caught:
        extract(request, threading.Event())
    return caught.value.code


def a_file(image: Image.Image, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def test_format_size_colours_and_exif_are_seen_and_said() -> None:
    output = seen(sunset())

    assert (output["format"], output["width"], output["height"]) == ("JPEG", 320, 200)
    assert [colour["name"] for colour in output["colours"]] == ["orange", "navy", "yellow"]
    assert 0.5 < output["colours"][0]["share"] < 0.6
    assert output["exif"]["Model"] == "Painter 1"
    assert "dominant colours of the image are orange" in output["text"]
    assert "camera Orchestra Painter 1" in output["text"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_each_format_is_read(kind: str) -> None:
    output = seen(a_file(Image.new("RGB", (30, 20), (30, 80, 210)), kind))

    assert (output["format"], output["colours"][0]["name"]) == (kind, "blue")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_each_kind_of_pixel_is_read(mode: str) -> None:
    assert seen(a_file(Image.new(mode, (4, 4))))["colours"]


def test_what_is_transparent_counts_as_white() -> None:
    output = seen(a_file(Image.new("RGBA", (8, 8), (220, 30, 40, 0))))

    assert [colour["name"] for colour in output["colours"]] == ["white"]


def test_a_black_pixel_is_black() -> None:
    assert name_of(3, 3, 3) == "black"


def a_png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param("{}", "INPUT_INVALID", id="no image"),
        pytest.param('{"image": ""}', "IMAGE_EMPTY", id="empty"),
        pytest.param('{"image": "?"}', "IMAGE_NOT_BASE64", id="not base64"),
        pytest.param(a_request(b"hello"), "IMAGE_UNREADABLE", id="no image at all"),
        pytest.param(a_request(sunset()[:700]), "IMAGE_UNREADABLE", id="cut"),
        pytest.param(a_request(b"%!PS-Adobe-3.0 EPSF-3.0"), "IMAGE_UNREADABLE", id="a program"),
        pytest.param(a_request(a_png_that_claims(5000, 5000)), "IMAGE_TOO_LARGE", id="large"),
        pytest.param(a_request(a_png_that_claims(60_000, 60_000)), "IMAGE_TOO_LARGE", id="a bomb"),
    ],
)
def test_a_wrong_input_is_refused_with_a_code(request_: str, code: str) -> None:
    assert code_of(request_) == code


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_an_image_that_is_changed_anywhere_is_read_or_refused() -> None:
    dice = random.Random(5)
    pictures = [a_file(Image.new("RGB", (9, 7), "red"), kind) for kind in ("PNG", "GIF", "WEBP")]
    for good in [*pictures, sunset()]:
        for _ in range(150):
            broken = bytearray(good[: dice.randint(1, len(good))])
            for _ in range(dice.randint(0, 4)):
                broken[dice.randrange(len(broken))] = dice.randrange(256)
            try:
                assert seen(bytes(broken))["colours"]
            except BadInputError as error:
                assert error.code.startswith("IMAGE_")  # noqa: PT017
