"""Settings of ``orchestrator dev``, and of the search for its system."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DevSettings:
    """``ORCH_DEV_<FIELD>``."""

    find: bool = True
    """Whether a command without addresses works on the system that ``orchestrator dev`` runs: it
    looks for ``.orchestrator/running.json`` from the current folder upwards, then beside its own
    installation. A variable that is set always takes precedence. false: only variables count."""
