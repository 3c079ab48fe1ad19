"""deploy/compose.yaml, checked by compose itself."""

import json
import subprocess
import sys
from pathlib import Path

COMPOSE = Path(sys.executable).with_name("docker-compose")


def test_the_compose_file_is_valid_and_listens_on_this_machine_only() -> None:
    shown = subprocess.run(
        [COMPOSE, "-f", "deploy/compose.yaml", "config", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    services = json.loads(shown.stdout)["services"]
    assert set(services) == {"kafka", "postgres"}
    for service in services.values():
        assert [port["host_ip"] for port in service["ports"]] == ["127.0.0.1"]
