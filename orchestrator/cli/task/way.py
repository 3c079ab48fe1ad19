"""Chooses how a command reaches tasks: through the service, or without it with ``--direct``."""

from __future__ import annotations

from collections.abc import Mapping

import typer

from orchestrator.cli.task.ports import Tasks


def way(server: str | None, direct: bool, only_direct: Mapping[str, object] | None = None) -> Tasks:
    """Choose the way of a command.

    Args:
        server: the service's address; None: the address in the settings.
        direct: True: without the service.
        only_direct: options that the service cannot take, with the given values.

    Raises:
        typer.BadParameter: options that exclude each other.
        SettingsError: a setting is wrong.
    """
    # Imported here: each way alone imports half as much, and starts in half of the time.
    if direct:
        if server is not None:
            raise typer.BadParameter("--server and --direct exclude each other")
        from orchestrator.cli.task.direct import DirectTasks

        return DirectTasks()
    for option, given in (only_direct or {}).items():
        if given is not None:
            raise typer.BadParameter(f"{option} goes with --direct: the service knows it itself")
    from orchestrator.cli.task.served import ServedTasks

    return ServedTasks.of_environment(server)
