"""Settings of the reference services."""

from dataclasses import dataclass
from pathlib import Path

from orchestrator.local.demo.faults import Faults


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """``ORCH_DEMO_<FIELD>``. For demonstrations and tests; no deployment needs them."""

    faults: str = ""
    """A JSON array of faults (``orchestrator/local/demo/faults.py``), such as
    ``[{"service": "rag_engine", "status": "UNAVAILABLE", "times": 2}]``; empty: no faults."""

    call_log: str = ""
    """A file to which each call is appended as JSON lines, without a size limit; empty: calls
    are not written down."""

    host: str = "127.0.0.1"
    """The address that the services listen on, without TLS and without a login. On an address that
    others can reach, everybody there can call them."""

    retrieval_port: int = 0
    """The port of the retrieval at the host. 0 takes a free port; a taken one stops the
    start."""

    rag_engine_port: int = 0
    """The port of the rag engine at the host. 0 takes a free port; a taken one stops the
    start."""

    agent_engine_port: int = 0
    """The port of the agent engine at the host. 0 takes a free port; a taken one stops the
    start."""

    voice_engine_port: int = 0
    """The port of the voice engine at the host. 0 takes a free port; a taken one stops the
    start."""

    multimodal_engine_port: int = 0
    """The port of the multimodal engine at the host. 0 takes a free port; a taken one stops the
    start."""

    docs_dir: Path = Path("docs")
    """Its ``*.md``, and the README.md beside it, can be retrieved in addition to the packaged
    corpus. A folder that does not exist adds nothing."""

    vectors_file: Path | None = None
    """A NumPy file of one vector for each passage, which `orchestrator dev --models` makes. None:
    passages are found by their words."""

    def __post_init__(self) -> None:
        Faults.parse(self.faults)
        for name in (slot for slot in self.__slots__ if slot.endswith("_port")):
            if not 0 <= getattr(self, name) <= 65535:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 0 to 65535")
