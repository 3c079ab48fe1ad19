"""Pipelines: which steps a task of a type takes, and what each of them calls.

Pipelines are data (``tasks/pipelines/*.yaml``, see :mod:`tasks.pipeline_file`) and never
change: a change is a new version, and a task keeps the version with which it was created.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import OrchestratorError
from schemas.records import StepName
from tasks.retry import RetryPolicy
from tasks.template import Template


class PipelineFileError(OrchestratorError):
    """A pipeline is wrong; the message begins with ``file:line:``. The process must not start."""

    code = "PIPELINE_INVALID"


class PipelineUnknownError(OrchestratorError):
    """A task has a pipeline version that is not loaded, or that was changed in place.

    An operator has to restore the file; then the owner goes on.
    """

    code = "PIPELINE_VERSION_UNKNOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTool:
    """A service that the model of a step may call."""

    name: str
    """What the model calls it."""
    description: str
    service: str
    method: str
    arguments: Any
    """JSON Schema of the arguments, which become the input of the method."""
    timeout_ms: int
    """For one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineStep:
    """One call of one service, the unit of retry."""

    name: StepName
    service: str
    method: str
    input: Template
    timeout_ms: int
    """For one attempt, from its call to its answer."""
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    hedge_after_ms: int | None = None
    """The step is safe to be called twice, and a call without an answer after this time gets a
    second one beside it. None: never."""
    tools: tuple[StepTool, ...] = ()
    """Also in the input, where the client of the model finds them."""
    declared_at: str = field(default="<code>:1", compare=False)
    """``file:line``, for messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """Named, versioned steps that run one after the other, and the output that they produce."""

    name: str
    version: int
    steps: tuple[PipelineStep, ...]
    """At least one."""
    output: Template
    declared_at: str = field(default="<code>:1", compare=False)
    """``file:line``, for messages."""

    def has(self, step: StepName, index: int) -> bool:
        """True if this step is at this position, as it was when its command was made."""
        return index < len(self.steps) and self.steps[index].name == step

    def index_of(self, step: str) -> int | None:
        """The position of a step, from 0; None if this pipeline has no such step."""
        return next((i for i, known in enumerate(self.steps) if known.name == step), None)


class Pipelines:
    """All pipelines that a process knows. Immutable.

    Raises:
        PipelineFileError: a version is given twice, or a step name is bound to two services
            (the topics of a step belong to one kind of worker).
    """

    def __init__(self, pipelines: Iterable[Pipeline]) -> None:
        self._versions: dict[tuple[str, int], Pipeline] = {}
        self._newest: dict[str, Pipeline] = {}
        self._steps: dict[StepName, PipelineStep] = {}
        for pipeline in pipelines:
            self._add(pipeline)

    def get(self, name: str, version: int | None = None) -> Pipeline | None:
        """A pipeline by its version, or the newest one; None if it does not exist."""
        return self.newest(name) if version is None else self._versions.get((name, version))

    def newest(self, name: str) -> Pipeline | None:
        """The version that new tasks get."""
        return self._newest.get(name)

    @property
    def all(self) -> tuple[Pipeline, ...]:
        """Every version of every pipeline, by name and version."""
        return tuple(self._versions[key] for key in sorted(self._versions))

    @property
    def names(self) -> tuple[str, ...]:
        """The task types that can be created, sorted."""
        return tuple(sorted(self._newest))

    @property
    def services(self) -> dict[StepName, str]:
        """Every step name of any version, sorted, with the service that it is bound to."""
        return {name: self._steps[name].service for name in sorted(self._steps)}

    def services_of(self, step: StepName) -> frozenset[str]:
        """The service of a step, and those of the tools that any version declares for it."""
        tools = (tool.service for one in self._declared(step) for tool in one.tools)
        return frozenset((self._steps[step].service, *tools))

    @property
    def called_services(self) -> frozenset[str]:
        """Every service that a step of any version calls, itself or as a tool."""
        return frozenset().union(*(self.services_of(step) for step in self._steps))

    @property
    def tool_methods(self) -> frozenset[tuple[str, str]]:
        """The services and methods that any version declares as tools."""
        declared = (one for step in self._steps for one in self._declared(step))
        return frozenset((tool.service, tool.method) for one in declared for tool in one.tools)

    def hedge_after_ms(self, step: StepName) -> int | None:
        """When a call of a step gets a second one; None: a declaration of the step has no hedge.

        A worker runs the commands of all pipelines, so the latest time of any of them counts.
        """
        declared = [one.hedge_after_ms for one in self._declared(step)]
        known = [after_ms for after_ms in declared if after_ms is not None]
        return max(known) if known and len(known) == len(declared) else None

    @property
    def step_names(self) -> tuple[StepName, ...]:
        """Every step name of any version, sorted: each has its own topics."""
        return tuple(self.services)

    def _declared(self, step: StepName) -> list[PipelineStep]:
        """A step in every version of every pipeline that has it."""
        every = (one for pipeline in self._versions.values() for one in pipeline.steps)
        return [one for one in every if one.name == step]

    def _add(self, pipeline: Pipeline) -> None:
        key = (pipeline.name, pipeline.version)
        if (twin := self._versions.get(key)) is not None:
            raise PipelineFileError(
                f"{pipeline.declared_at}: {pipeline.name} version {pipeline.version} "
                f"is already declared at {twin.declared_at}"
            )
        for step in pipeline.steps:
            first = self._steps.setdefault(step.name, step)
            if first.service != step.service:
                raise PipelineFileError(
                    f"{step.declared_at}: step {step.name} calls {step.service}, "
                    f"but {first.service} at {first.declared_at}"
                )
        self._versions[key] = pipeline
        newest = self._newest.get(pipeline.name)
        if newest is None or newest.version < pipeline.version:
            self._newest[pipeline.name] = pipeline
