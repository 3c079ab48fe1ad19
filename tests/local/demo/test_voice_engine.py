"""Speech becomes the right words, and audio that cannot be read is refused with a code."""

import base64
import io
import json
import threading
import wave
from pathlib import Path

import pytest

from orchestrator.local.demo import voice_engine
from orchestrator.local.demo.answer import BadInputError, GivenUpError, NotInstalledError
from orchestrator.local.demo.voice_engine import NOT_INSTALLED, VoiceEngine, read_wav
from tests.local.demo.speech import HAS_SPEECH

SPOKEN = Path("orchestrator/local/demo/samples/question.wav").read_bytes()


@pytest.fixture(scope="module")
def engine() -> VoiceEngine:
    return VoiceEngine()


def a_request(audio: bytes) -> str:
    return json.dumps({"audio": base64.b64encode(audio).decode()})


def a_wav(
    samples: bytes = b"\0\0" * 800, *, channels: int = 1, width: int = 2, rate: int = 16_000
) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(width)
        writer.setframerate(rate)
        writer.writeframes(samples)
    return file.getvalue()


def is_refused(engine: VoiceEngine) -> bool:
    """Whether a good recording is refused, with the reason in one line."""
    with pytest.raises(NotInstalledError) as caught:
        engine.transcribe(a_request(SPOKEN), threading.Event())
    message = str(caught.value)
    assert "speech recognition needs Python 3.11" in message
    assert "\n" not in message
    return caught.value.code == NOT_INSTALLED and not caught.value.retriable


def test_without_a_recogniser_a_recording_is_refused_and_a_wrong_input_has_its_own_code(
    engine: VoiceEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voice_engine, "Decoder", None)

    assert is_refused(VoiceEngine())
    with pytest.raises(BadInputError, match="not a PCM WAV"):
        engine.transcribe(a_request(b"RIFF"), threading.Event())


def test_the_words_are_right_each_time_and_how_sure_they_are_is_told(engine: VoiceEngine) -> None:
    if not HAS_SPEECH:
        assert is_refused(engine)
        return
    answers = [engine.transcribe(a_request(SPOKEN), threading.Event()) for _ in range(2)]

    output = json.loads(answers[0].output)
    assert output["text"] == "what is speech recognition"
    assert 0.2 < output["confidence"] <= 1
    assert output["duration_ms"] == 1935
    assert answers[0] == answers[1]


def test_silence_is_no_speech(engine: VoiceEngine) -> None:
    if not HAS_SPEECH:
        assert is_refused(engine)
        return
    with pytest.raises(BadInputError) as caught:
        engine.transcribe(a_request(a_wav(b"\0\0" * 8000)), threading.Event())

    assert caught.value.code == "SPEECH_NOT_FOUND"


def test_a_recogniser_whose_caller_is_gone_gives_up_and_can_be_used_again(
    engine: VoiceEngine,
) -> None:
    if not HAS_SPEECH:
        assert is_refused(engine)
        return

    class GoneSoon(threading.Event):
        looks = 0

        def is_set(self) -> bool:
            self.looks += 1
            return self.looks > 3

    with pytest.raises(GivenUpError):
        engine.transcribe(a_request(SPOKEN), GoneSoon())

    again = engine.transcribe(a_request(SPOKEN), threading.Event())
    assert json.loads(again.output)["text"] == "what is speech recognition"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        pytest.param("{}", "INPUT_INVALID", id="no audio"),
        pytest.param('{"audio": 1}', "INPUT_INVALID", id="audio is no text"),
        pytest.param('{"audio": ""}', "AUDIO_EMPTY", id="empty"),
        pytest.param('{"audio": "a b!"}', "AUDIO_NOT_BASE64", id="not base64"),
        pytest.param('{"audio": "ü"}', "AUDIO_NOT_BASE64", id="not ASCII"),
        pytest.param(a_request(b"RIFF"), "AUDIO_NOT_WAV", id="cut"),
        pytest.param(a_request(b"\xff\xfb" * 100), "AUDIO_NOT_WAV", id="another format"),
        pytest.param(a_request(a_wav(rate=8000)), "AUDIO_FORMAT_UNSUPPORTED", id="8 kHz"),
        pytest.param(a_request(a_wav(channels=2)), "AUDIO_FORMAT_UNSUPPORTED", id="stereo"),
        pytest.param(a_request(a_wav(width=1)), "AUDIO_FORMAT_UNSUPPORTED", id="8 bit"),
        pytest.param(a_request(a_wav(b"")), "AUDIO_EMPTY", id="no samples"),
        pytest.param(a_request(a_wav(b"\0\0" * 480_001)), "AUDIO_TOO_LONG", id="too long"),
    ],
)
def test_a_wrong_input_is_refused_with_a_code(request_: str, code: str) -> None:
    with pytest.raises(BadInputError) as caught:
        VoiceEngine().transcribe(request_, threading.Event())

    assert caught.value.code == code


def test_a_wav_file_that_is_cut_or_changed_anywhere_is_read_or_refused() -> None:
    good = a_wav(b"\1\2" * 20)
    for place in range(len(good)):
        for broken in (good[:place], good[:place] + b"\xff" + good[place + 1 :]):
            try:
                read_wav(broken)
            except BadInputError as error:
                assert error.code.startswith("AUDIO_")  # noqa: PT017
