"""``orchestrator pipelines``: shows the task types, and checks pipeline files."""

import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text

from orchestrator.cli.output import (
    Output,
    OutputOption,
    json_text,
    print_json,
    print_line,
    print_note,
    print_table,
)
from orchestrator.configuration.load import process_settings
from orchestrator.pipelines import installed_pipelines, text_of, texts_in
from schemas.printable import on_one_line
from tasks.pipeline import Pipeline, PipelineFileError, Pipelines, PipelineStep
from tasks.pipeline_file import load_pipelines, parse_pipeline
from tasks.template import to_json

app = typer.Typer(help="Pipelines: one for each task type.", no_args_is_help=True)


@app.command("list")
def list_pipelines(output: OutputOption = Output.TABLE) -> None:
    """Show every version of every pipeline; new tasks get the newest."""
    pipelines = _installed()
    if output is Output.JSON:
        print_json([_summary(pipelines, pipeline) for pipeline in pipelines.all])
        return
    rows = []
    for pipeline in pipelines.all:
        summary = _summary(pipelines, pipeline)
        steps = " → ".join(summary["steps"])
        newest = "yes" if summary["newest"] else "no"
        rows.append((pipeline.name, pipeline.version, newest, steps, summary["declared_at"]))
    print_table(("pipeline", "version", "new tasks", "steps", "file"), rows, output=output)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="NAME for the newest version, or NAME@VERSION.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show the steps of a pipeline, what they call, and their inputs."""
    pipeline = _find(_installed(), name)
    if output is Output.JSON:
        print_json(_full(pipeline))
        return
    console = Console()
    _head(console, "", pipeline.name, f" version {pipeline.version}, {pipeline.declared_at}")
    for number, step in enumerate(pipeline.steps, 1):
        retry = step.retry
        print_line()
        _head(
            console,
            f"{number}. ",
            step.name,
            f"  {step.service} {step.method}, "
            f"{step.timeout_ms / 1000:g} s an attempt, {retry.max_attempts} attempts, "
            f"pauses {retry.base_delay_s:g} to {retry.max_delay_s:g} s",
        )
        _print_document(console, to_json(step.input))
    print_line()
    print_line("output")
    _print_document(console, to_json(pipeline.output))


def _head(console: Console, before: str, name: str, after: str) -> None:
    # Texts, not strings: a string may hold markup, and a file's name is foreign.
    parts = (on_one_line(before), (on_one_line(name), "bold"), on_one_line(after))
    console.print(Text.assemble(*parts), soft_wrap=True)


def _print_document(console: Console, document: Any) -> None:
    text = Text(json_text(document, indent=2))
    console.print(JSONHighlighter()(text), soft_wrap=True)


@app.command("validate")
def validate(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Pipeline files.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Check files, each by itself and all together with the installed pipelines.

    Prints a line ``file:line: what is wrong`` for each wrong file; exit status 1 if there is
    one. Nothing is installed.
    """
    texts = {str(path): text_of(path) for path in paths}
    problems = [problem for file, text in texts.items() if (problem := _problem(file, text))]
    if not problems:
        problems = _contradiction(texts)
    if output is Output.JSON:
        print_json({"files": list(texts), "problems": problems})
    for problem in () if output is Output.JSON else problems:
        print_note(problem)
    if problems:
        raise typer.Exit(1)
    if output is not Output.JSON:
        for file, text in texts.items():
            pipeline = parse_pipeline(text, file=file)
            print_line(f"{file}: {pipeline.name} version {pipeline.version} is good")


def _problem(file: str, text: str) -> str | None:
    try:
        parse_pipeline(text, file=file)
    except PipelineFileError as error:
        return str(error)
    return None


def _contradiction(texts: dict[str, str]) -> list[str]:
    """Contradictions between the files, or between a file and an installed pipeline."""
    folder = process_settings(os.environ).pipelines.dir
    installed = {} if folder is None else texts_in(folder)
    built_in = Path(str(files("tasks"))).resolve() / "pipelines"
    # A file that is installed already does not contradict itself.
    given = {Path(file).resolve() for file in texts}
    others = {file: text for file, text in installed.items() if Path(file).resolve() not in given}
    new = {f: text for f, text in texts.items() if Path(f).resolve().parent != built_in}
    try:
        load_pipelines(others | new)
    except PipelineFileError as error:
        return [str(error)]
    return []


def _installed() -> Pipelines:
    return installed_pipelines(process_settings(os.environ).pipelines)


def _find(pipelines: Pipelines, text: str) -> Pipeline:
    name, _, version = text.partition("@")
    if version and not (version.isascii() and version.isdigit()):
        raise typer.BadParameter(f"{version!r} is not a version; ask for NAME or NAME@VERSION")
    found = pipelines.get(name, int(version) if version else None)
    if found is None:
        known = ", ".join(f"{known.name}@{known.version}" for known in pipelines.all)
        raise typer.BadParameter(f"there is no pipeline {text!r}; there are {known}")
    return found


def _summary(pipelines: Pipelines, pipeline: Pipeline) -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "version": pipeline.version,
        "newest": pipelines.newest(pipeline.name) is pipeline,
        "steps": [step.name for step in pipeline.steps],
        "declared_at": pipeline.declared_at,
    }


def _full(pipeline: Pipeline) -> dict[str, Any]:
    return {
        "name": pipeline.name,
        "version": pipeline.version,
        "declared_at": pipeline.declared_at,
        "steps": [_step(step) for step in pipeline.steps],
        "output": to_json(pipeline.output),
    }


def _step(step: PipelineStep) -> dict[str, Any]:
    return {
        "name": step.name,
        "service": step.service,
        "method": step.method,
        "timeout_ms": step.timeout_ms,
        "retry": {
            "max_attempts": step.retry.max_attempts,
            "base_delay_s": step.retry.base_delay_s,
            "max_delay_s": step.retry.max_delay_s,
        },
        "input": to_json(step.input),
    }
