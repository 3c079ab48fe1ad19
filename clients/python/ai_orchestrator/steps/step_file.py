"""A file with steps that is taken again whenever it changes; a broken one leaves the last good."""

import importlib.util
import linecache
import sys
import sysconfig
import traceback
from pathlib import Path
from types import ModuleType

from ai_orchestrator.steps.declaring import Steps
from ai_orchestrator.steps.serving import collecting

_STANDARD_LIBRARY = sysconfig.get_path("stdlib")
"""It may lie below the folder of a file: its modules are nobody's steps."""

Stamp = tuple[int, int]
"""Time of the last change in nanoseconds, and size."""


class StepFile:
    """The steps of a file, and of the modules beside it that it imports.

    Calls that run end with the function with which they began.

    Attributes:
        steps: those of the last good file; without names before the first one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.steps = Steps()
        self._stamps: dict[Path, Stamp | None] = {}
        sys.path.insert(0, str(self.path.parent))

    def look(self) -> str | None:
        """Take the file if it is new or has changed; what happened, in one line.

        Returns:
            None: nothing has changed.
        """
        # Before the file is read: a change while it is read is seen by the next look.
        stamps = {path: _stamp(path) for path in self._watched()}
        if stamps == self._stamps:
            return None
        try:
            self.steps = self._loaded()
        except Exception as error:
            kept = f"; {', '.join(self.steps.names)} go on as before" if self.steps.names else ""
            return f"{self.path.name}: not taken: {self._fault(error)}{kept}"
        finally:
            known = stamps.keys()
            self._stamps = {p: stamps[p] if p in known else _stamp(p) for p in self._watched()}
        return f"{self.path.name}: taken: {', '.join(self.steps.names)}"

    def _watched(self) -> set[Path]:
        """The file and all others of its folder, one of which it may fail to import."""
        beside = (Path(str(sys.modules[name].__file__)) for name in self._names_beside())
        return {self.path, *self.path.parent.glob("*.py"), *beside}

    def _loaded(self) -> Steps:
        steps = Steps()
        old = {name: sys.modules.pop(name) for name in self._names_beside()}
        importlib.invalidate_caches()
        linecache.checkcache()
        try:
            with collecting(steps):
                _run(self.path)
            if not steps.names:
                raise ValueError("no function is declared with @step")
        except BaseException:
            for name in self._names_beside():
                del sys.modules[name]
            sys.modules.update(old)
            raise
        return steps

    def _names_beside(self) -> list[str]:
        """The modules that were imported from the folder of the file."""
        return [name for name, module in list(sys.modules.items()) if self._is_beside(module)]

    def _is_beside(self, module: ModuleType) -> bool:
        file = getattr(module, "__file__", None)
        if file is None or module.__name__ in ("__main__", __package__):
            return False
        path = Path(file)
        if not path.is_relative_to(self.path.parent) or path.is_relative_to(_STANDARD_LIBRARY):
            return False
        return "site-packages" not in path.parts and not module.__name__.startswith(
            "ai_orchestrator"
        )

    def _fault(self, error: Exception) -> str:
        """The error, and where it is in the user's files."""
        frames = traceback.extract_tb(error.__traceback__)
        places = [
            (f.filename, f.lineno) for f in frames if Path(f.filename).parent == self.path.parent
        ]
        if isinstance(error, SyntaxError):
            places = [(error.filename or "", error.lineno)]
            error = type(error)(error.msg)
        where = f" ({Path(places[-1][0]).name}, line {places[-1][1]})" if places else ""
        return " ".join(f"{type(error).__name__}: {error}{where}".split())


def _run(path: Path) -> None:
    """Run the file as a module of its own, compiled anew: a cached one may be a second old."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    exec(compile(path.read_bytes(), path, "exec", dont_inherit=True), module.__dict__)


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
