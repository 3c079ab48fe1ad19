"""Runs the pods of the chart on this machine: their arguments, variables and files as rendered.

Only addresses differ: of Kafka and of Postgres, the ports on which a process listens, and the
folders in which its files are.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from orchestrator.local.dev.fork import Fork
from tests.deploy.rendered import Object, Pod, named
from tests.secured.broker import free_ports

READY_S = 90.0
Secrets = Mapping[str, Mapping[str, str]]
"""What is in each Secret, by its name."""


@dataclass(frozen=True)
class Surroundings:
    """What the cluster would give to the pods."""

    folder: Path
    kafka_bootstrap: str
    secrets: Secrets


class LocalPod:
    """One pod of a template, as a process of this machine."""

    def __init__(
        self, pod: Pod, found: tuple[Object, ...], around: Surroundings, number: int = 0
    ) -> None:
        self.pod = pod
        self.name = pod.names()[number] if pod.runs_on else pod.name
        self._around = around
        self._folders = self._mounted(found)
        self._ports: dict[str, int] = {}
        self._change_addresses()
        container = pod.container
        environment = {one["name"]: self._value(one) for one in container["env"]}
        self.process = Fork(
            self.name,
            container["args"],
            # There is no home, and nothing of this shell.
            env={"PATH": os.environ["PATH"], **environment},
            log_path=around.folder / f"{self.name}.log",
        )

    def _mounted(self, found: tuple[Object, ...]) -> dict[str, Path]:
        """Make the volumes; the folder of each path at which one is mounted."""
        volumes = {volume["name"]: volume for volume in self.pod.spec["volumes"]}
        mounted = {}
        for mount in self.pod.container["volumeMounts"]:
            files = self._files(volumes[mount["name"]], found)
            folder = self._around.folder / self.name / mount["name"]
            folder.mkdir(parents=True)
            _fill(folder, files)
            mounted[mount["mountPath"]] = folder
        return mounted

    def replace_files(self, mount_path: str, files: Mapping[str, str]) -> None:
        """Give a volume other files, as the kubelet does when a Secret was changed."""
        _fill(self._folders[mount_path], files)

    def _files(self, volume: Object, found: tuple[Object, ...]) -> Mapping[str, str]:
        match volume:
            case {"configMap": {"name": name}}:
                data: dict[str, str] = named(found, "ConfigMap", name)["data"]
                return data
            case {"secret": {"secretName": name, "items": items}}:
                return {one["path"]: self._around.secrets[name][one["key"]] for one in items}
            case {"secret": {"secretName": name}}:
                return self._around.secrets[name]
        assert "emptyDir" in volume
        return {}

    def _value(self, variable: Object) -> str:
        match variable:
            case {"value": value}:
                return self._here(value)
            case {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}:
                return self.name
            case {"valueFrom": {"secretKeyRef": {"name": name, "key": key}}}:
                return self._around.secrets[name][key]
        raise AssertionError(f"how would {variable} be set?")

    def _here(self, text: str) -> str:
        """The text with folders of this machine in place of mounted ones."""
        for path in sorted(self._folders, key=len, reverse=True):
            # /tmp is here as it is there.
            if path != "/tmp":
                text = text.replace(path, str(self._folders[path]))
        return text

    def _change_addresses(self) -> None:
        file = self._folders["/etc/orchestrator"] / "config.yaml"
        config: dict[str, Any] = yaml.safe_load(self._here(file.read_text()))
        config["data"]["kafka"]["bootstrap"] = self._around.kafka_bootstrap
        metrics, http, grpc = free_ports(3)
        self._ports = {"metrics": metrics, "http": http, "grpc": grpc}
        config["metrics"].update(host="127.0.0.1", port=metrics)
        config["server"]["http"]["addr"] = f"127.0.0.1:{http}"
        config["server"]["grpc"]["addr"] = f"127.0.0.1:{grpc}"
        self.replace_files("/etc/orchestrator", {"config.yaml": yaml.safe_dump(config)})

    def assigned(self) -> list[list[int]]:
        """The partitions that its group gave to it, each time that it gave some."""
        lines = (line for line in self.process.log_path.read_text().splitlines() if "{" in line)
        said = [json.loads(line) for line in lines]
        return [line["partitions"] for line in said if line["event"] == "partitions_assigned"]

    def address(self, port: str) -> str:
        """Where a port of the pod is on this machine."""
        return f"127.0.0.1:{self._ports[port]}"

    async def probe(self, name: str) -> httpx.Response:
        """Ask what the kubelet asks.

        Raises:
            httpx.HTTPError: the process does not answer.
        """
        asked = self.pod.container[name]["httpGet"]
        url = f"http://{self.address(asked['port'])}{asked['path']}"
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(url, timeout=self.pod.container[name]["timeoutSeconds"])

    async def until(self, probe: str, status: int) -> httpx.Response:
        """Wait until a probe has an answer; AssertionError with the log if it has not."""
        answer = None
        try:
            async with asyncio.timeout(READY_S):
                while True:
                    assert self.process.returncode is None, self._story("it ended")
                    try:
                        answer = await self.probe(probe)
                    except httpx.HTTPError:
                        answer = None
                    if answer is not None and answer.status_code == status:
                        return answer
                    await asyncio.sleep(0.1)
        except TimeoutError:
            said = "nothing" if answer is None else answer.text
            raise AssertionError(self._story(f"{probe} said {said}")) from None

    async def ended(self) -> None:
        """Wait until a job has succeeded; AssertionError with the log if it fails."""
        assert await self.process.wait(READY_S) == 0, self._story("the job failed")

    async def terminated(self) -> None:
        """Ask it to end as the kubelet does; AssertionError if it would have to be killed."""
        grace_s = self.pod.spec["terminationGracePeriodSeconds"]
        assert await self.process.stop(grace_s) == 0, self._story("it did not end well")

    def _story(self, what: str) -> str:
        return f"{self.name}: {what}\n{self.process.log_tail(30)}"


def _fill(folder: Path, files: Mapping[str, str]) -> None:
    """Write files as the kubelet does: as links into one folder, which is replaced at once."""
    data = Path(tempfile.mkdtemp(prefix="..", dir=folder))
    for name, text in files.items():
        (data / name).write_text(text)
    link = folder / "..data_tmp"
    link.symlink_to(data.name)
    link.rename(folder / "..data")
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
