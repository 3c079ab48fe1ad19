"""Pipeline files: YAML text to :class:`~tasks.pipeline.Pipeline`. Every error names its line.

The format, by example::

    pipeline: rag                # the task type
    version: 1                   # a change is a new version, in a new file
    steps:
      - name: retrieve           # [a-z][a-z0-9_]*, bound to one service everywhere
        service: retrieval
        method: Retrieve
        timeout_s: 10            # for one attempt
        retry: {max_attempts: 4, base_delay_s: 0.5, max_delay_s: 30}   # optional
        hedge_after_s: 2         # optional: safe to be called twice, then the first answer counts
        max_iterations: 4        # optional, with tools: how often the model is asked
        tools:                   # optional: what the model of this step may call
          - name: search
            description: Finds passages.
            service: retrieval
            method: Retrieve
            timeout_s: 10        # optional
            arguments: {type: object, properties: {query: {type: string}}, required: [query]}
        input:                   # a template: JSON with paths in it
          query: $.input.query
          top_k: {from: $.input.top_k, default: 20}
          prefix: {literal: "$ is not a path here"}
    output: $.steps.retrieve     # a template, too

Anchors, aliases and tags are refused: a pipeline is read by people.
"""

from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from schemas.records import StepName
from tasks.pipeline import Pipeline, Pipelines, PipelineStep, StepTool
from tasks.retry import RetryPolicy
from tasks.template import Fields, Items, Literal, Path, Reference, Template, parse_path
from tasks.yaml_reader import YamlReader

STEPS_MAX = 32
STEP_TIMEOUT_MAX_S = 24 * 60 * 60
TOOLS_MAX = 16
TOOL_TIMEOUT_DEFAULT_S = 30.0
ITERATIONS_DEFAULT = 4
ITERATIONS_MAX = 20


def load_pipelines(extra: Mapping[str, str] | None = None) -> Pipelines:
    """Read the built-in pipelines and those of an installation.

    Args:
        extra: file name to YAML text; may add new versions of built-in pipelines.

    Raises:
        PipelineFileError: a file is wrong, or two contradict each other.
    """
    built_in = sorted((files("tasks") / "pipelines").iterdir(), key=lambda entry: entry.name)
    texts = {
        f"tasks/pipelines/{entry.name}": entry.read_text("utf-8")
        for entry in built_in
        if entry.name.endswith(".yaml")
    }
    given = list(texts.items()) + list((extra or {}).items())
    return Pipelines(parse_pipeline(text, file=file) for file, text in given)


def parse_pipeline(text: str, *, file: str) -> Pipeline:
    """Read one pipeline file.

    Args:
        text: the YAML.
        file: its name, for messages.

    Raises:
        PipelineFileError: names the first fault in the file.
    """
    reader = YamlReader(file)
    root = reader.compose(text)
    fields = reader.mapping(root, required=("pipeline", "version", "steps", "output"))
    items = reader.sequence(fields["steps"], at_least=1, at_most=STEPS_MAX)
    steps: list[PipelineStep] = []
    for item in items:
        steps.append(_step(reader, item, steps))
    return Pipeline(
        name=reader.name(fields["pipeline"]),
        version=reader.integer(fields["version"], at_least=1, at_most=2**31 - 1),
        steps=tuple(steps),
        output=_template(reader, fields["output"], steps),
        declared_at=reader.where(root),
    )


def _step(reader: YamlReader, node: Node, earlier: list[PipelineStep]) -> PipelineStep:
    fields = reader.mapping(
        node,
        required=("name", "service", "method", "timeout_s", "input"),
        optional=("retry", "hedge_after_s", "tools", "max_iterations"),
    )
    name = StepName(reader.name(fields["name"]))
    if any(step.name == name for step in earlier):
        raise reader.error(fields["name"], f"step {name} occurs twice")
    timeout_s = reader.number(fields["timeout_s"], above=0, at_most=STEP_TIMEOUT_MAX_S)
    if not isinstance(fields["input"], MappingNode):
        raise reader.error(fields["input"], "a step's input must be a mapping")
    hedge_after_ms = None
    if "hedge_after_s" in fields:
        after_s = reader.number(fields["hedge_after_s"], above=0, at_most=timeout_s)
        hedge_after_ms = max(1, round(after_s * 1000))
    tools = _tools(reader, fields["tools"]) if "tools" in fields else ()
    return PipelineStep(
        name=name,
        service=reader.service(fields["service"]),
        method=reader.word(fields["method"]),
        timeout_ms=max(1, round(timeout_s * 1000)),
        input=_input(reader, fields, tools, earlier),
        retry=_retry(reader, fields["retry"]) if "retry" in fields else RetryPolicy(),
        hedge_after_ms=hedge_after_ms,
        tools=tools,
        declared_at=reader.where(node),
    )


def _input(
    reader: YamlReader,
    fields: Mapping[str, Node],
    tools: tuple[StepTool, ...],
    earlier: list[PipelineStep],
) -> Template:
    """The template of the input; the tools are a fixed part of it, as they are of the version."""
    given = _template(reader, fields["input"], earlier)
    if not tools:
        if "max_iterations" in fields:
            raise reader.error(fields["max_iterations"], "max_iterations needs tools")
        return given
    if not isinstance(given, Fields):
        raise reader.error(fields["input"], "the input of a step with tools must have messages")
    for name in ("tools", "max_iterations"):
        if any(key == name for key, _ in given.fields):
            raise reader.error(fields["input"], f"{name} belongs to the step, not to its input")
    iterations = ITERATIONS_DEFAULT
    if "max_iterations" in fields:
        iterations = reader.integer(fields["max_iterations"], at_least=1, at_most=ITERATIONS_MAX)
    declared = Literal([asdict(tool) for tool in tools])
    fixed = (("tools", declared), ("max_iterations", Literal(iterations)))
    return Fields(given.fields + fixed)


def _tools(reader: YamlReader, node: Node) -> tuple[StepTool, ...]:
    found: dict[str, StepTool] = {}
    for item in reader.sequence(node, at_least=1, at_most=TOOLS_MAX):
        fields = reader.mapping(
            item,
            required=("name", "description", "service", "method", "arguments"),
            optional=("timeout_s",),
        )
        name = reader.word(fields["name"])
        if name in found:
            raise reader.error(fields["name"], f"tool {name} occurs twice")
        arguments = reader.json(fields["arguments"])
        if not isinstance(arguments, dict) or arguments.get("type") != "object":
            message = "arguments must be a JSON Schema with type: object"
            raise reader.error(fields["arguments"], message)
        timeout_s = TOOL_TIMEOUT_DEFAULT_S
        if "timeout_s" in fields:
            timeout_s = reader.number(fields["timeout_s"], above=0, at_most=STEP_TIMEOUT_MAX_S)
        found[name] = StepTool(
            name=name,
            description=reader.text(fields["description"]),
            service=reader.service(fields["service"]),
            method=reader.word(fields["method"]),
            arguments=arguments,
            timeout_ms=max(1, round(timeout_s * 1000)),
        )
    return tuple(found.values())


def _retry(reader: YamlReader, node: Node) -> RetryPolicy:
    fields = reader.mapping(node, optional=("max_attempts", "base_delay_s", "max_delay_s"))
    default = RetryPolicy()
    attempts = default.max_attempts
    if "max_attempts" in fields:
        attempts = reader.integer(fields["max_attempts"], at_least=1, at_most=100)
    delays = {
        name: reader.number(fields[name], above=0, at_most=3600)
        for name in ("base_delay_s", "max_delay_s")
        if name in fields
    }
    try:
        return RetryPolicy(max_attempts=attempts, **delays)
    except ValueError as error:
        raise reader.error(node, str(error)) from None


def _template(reader: YamlReader, node: Node, steps: list[PipelineStep]) -> Template:
    match node:
        case MappingNode():
            return _object(reader, node, steps)
        case SequenceNode():
            return Items(tuple(_template(reader, item, steps) for item in node.value))
        case ScalarNode() if node.value.startswith("$"):
            return Reference(_path(reader, node, steps))
    return Literal(reader.json(node))


def _object(reader: YamlReader, node: Node, steps: list[PipelineStep]) -> Template:
    keys = reader.keys(node)
    if keys == {"literal"}:
        return Literal(reader.json(reader.mapping(node, required=("literal",))["literal"]))
    if keys in ({"from"}, {"from", "default"}):
        fields = reader.mapping(node, required=("from",), optional=("default",))
        default = Literal(reader.json(fields["default"])) if "default" in fields else None
        return Reference(_path(reader, fields["from"], steps), default)
    fields = reader.mapping(node, optional=tuple(keys))
    return Fields(tuple((key, _template(reader, value, steps)) for key, value in fields.items()))


def _path(reader: YamlReader, node: Node, steps: list[PipelineStep]) -> Path:
    try:
        path = parse_path(reader.text(node))
    except ValueError as error:
        raise reader.error(node, str(error)) from None
    if path.step is not None and all(step.name != path.step for step in steps):
        raise reader.error(node, f"{path}: there is no step {path.step} before this")
    return path
