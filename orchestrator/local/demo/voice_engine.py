"""Reference speech recognition: pocketsphinx, offline, with the US English model of its wheel."""

import io
import struct
import sys
import threading
import wave
from typing import Any

from msgspec import Struct

from orchestrator.local.demo import base64_bytes
from orchestrator.local.demo.answer import (
    Answer,
    BadInputError,
    NotInstalledError,
    check_wanted,
    dump,
    load,
)
from schemas.records import Usage

try:
    from pocketsphinx import Decoder
except ImportError:  # its wheels end with Python 3.11
    Decoder = None

NOT_INSTALLED = "SPEECH_NOT_INSTALLED"
"""The code of a call if pocketsphinx is not installed."""

MODEL = "pocketsphinx-en-us"
RATE_HZ = 16_000
DURATION_MAX_S = 30
"""Seconds. A longer recording is refused: recognition takes about half of its duration."""

_BLOCK_BYTES = RATE_HZ * 2 // 5  # 0.2 s: how long a caller who is gone costs at most


class TranscribeInput(Struct, frozen=True):
    """Input of the method ``Transcribe``; other fields are ignored."""

    audio: str
    """A WAV file as base64: PCM, 16 bit, mono, 16 kHz, at most 30 s."""


class TranscribeOutput(Struct, frozen=True):
    """Output of ``Transcribe``."""

    text: str
    """Lower case, words separated by one space."""
    confidence: float
    """0 to 1: the posterior probability of the utterance, per word (geometric mean)."""
    duration_ms: int


class VoiceEngine:
    """Turns speech into text. One call at a time: the decoder has one state.

    The model is loaded by the first call and takes about half a second.
    """

    def __init__(self) -> None:
        self._decoder: Any = None

    def transcribe(self, request: str, stop: threading.Event) -> Answer:
        """Answer a ``Transcribe`` call. The machine's own time is free: the cost is 0.

        Raises:
            BadInputError: ``INPUT_INVALID``, ``AUDIO_NOT_BASE64``, ``AUDIO_EMPTY``,
                ``AUDIO_NOT_WAV``, ``AUDIO_FORMAT_UNSUPPORTED``, ``AUDIO_TOO_LONG`` or
                ``SPEECH_NOT_FOUND``.
            NotInstalledError: ``SPEECH_NOT_INSTALLED``; the audio itself can be read.
            GivenUpError: ``stop`` was set.
        """
        asked = load(request, TranscribeInput)
        samples = read_wav(base64_bytes.decode(asked.audio, what="audio"))
        check_wanted(stop)
        words, probability = self._recognise(samples, stop)
        if not words:
            raise BadInputError("SPEECH_NOT_FOUND", "there are no words in the audio")
        output = TranscribeOutput(
            text=" ".join(words),
            confidence=round(probability ** (1 / len(words)), 4),
            duration_ms=len(samples) // 2 * 1000 // RATE_HZ,
        )
        usage = Usage(model=MODEL, output_tokens=len(words), estimated=False)
        return Answer(output=dump(output), usage=usage)

    def _recognise(self, samples: bytes, stop: threading.Event) -> tuple[list[str], float]:
        if Decoder is None:
            raise NotInstalledError(
                NOT_INSTALLED,
                "speech recognition needs Python 3.11: pocketsphinx has no wheel for Python "
                f"{sys.version_info[0]}.{sys.version_info[1]}",
            )
        if self._decoder is None:
            # By default it writes its own lines to standard error, past our logs.
            self._decoder = Decoder(samprate=RATE_HZ, loglevel="FATAL")
        decoder = self._decoder
        # It adapts to its input; the same audio must give the same answer every time.
        decoder.reinit_feat()
        decoder.start_utt()
        try:
            for start in range(0, len(samples), _BLOCK_BYTES):
                check_wanted(stop)
                decoder.process_raw(samples[start : start + _BLOCK_BYTES])
        finally:
            decoder.end_utt()
        best = decoder.hyp()
        if best is None:
            return [], 0.0
        return best.hypstr.split(), min(1.0, max(0.0, best.prob))


def read_wav(data: bytes) -> bytes:
    """The samples of a WAV file that the recogniser understands.

    Raises:
        BadInputError: ``AUDIO_NOT_WAV``, ``AUDIO_FORMAT_UNSUPPORTED``, ``AUDIO_TOO_LONG`` or
            ``AUDIO_EMPTY``.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getnchannels(), file.getsampwidth(), file.getframerate())
            samples: bytes = file.readframes(RATE_HZ * DURATION_MAX_S + 1)
    except _BROKEN as error:
        raise BadInputError("AUDIO_NOT_WAV", "the audio is not a PCM WAV file") from error
    if form != (1, 2, RATE_HZ):
        raise BadInputError(
            "AUDIO_FORMAT_UNSUPPORTED",
            f"{form[0]} channels, {form[1] * 8} bit, {form[2]} Hz; it must be mono, 16 bit, "
            f"{RATE_HZ} Hz",
        )
    if len(samples) > RATE_HZ * DURATION_MAX_S * 2:
        raise BadInputError("AUDIO_TOO_LONG", f"longer than {DURATION_MAX_S} s")
    if len(samples) < 2:
        raise BadInputError("AUDIO_EMPTY", "the audio has no samples")
    return samples[: len(samples) // 2 * 2]


# Errors of the standard library's reader for files that are cut, or that claim wrong sizes.
_BROKEN = (wave.Error, EOFError, ValueError, ArithmeticError, RuntimeError, struct.error)
