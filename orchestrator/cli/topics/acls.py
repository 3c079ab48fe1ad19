"""``orchestrator topics acls``: the access rules that the account of a role needs."""

import shlex
from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.acls import PEOPLE, SERVE, AclRule, Resource, acls_of, merged
from orchestrator.cli.environment import command_settings
from orchestrator.cli.output import print_json, print_line
from orchestrator.layout import roles
from orchestrator.pipelines import installed_pipelines
from schemas.topics import Topics

EVERY_ROLE = "all"
"""One account for all processes of the system."""


class AclFormat(StrEnum):
    """The program that the rules are printed for."""

    KAFKA = "kafka"
    CONFLUENT = "confluent"
    JSON = "json"


def print_acls(
    role: Annotated[
        str,
        typer.Argument(
            help="router, sink, dlq-index, step.NAME, serve; upstream, analyst, operator, admin; "
            "or all: one account for every process."
        ),
    ],
    principal: Annotated[
        str, typer.Option("--principal", help="The account, as in User:orchestrator.")
    ],
    form: Annotated[
        AclFormat,
        typer.Option(
            "--format",
            help="Commands for kafka-acls.sh (with $BOOTSTRAP and $ADMIN_PROPERTIES) or for "
            "Confluent's program; or JSON.",
        ),
    ] = AclFormat.KAFKA,
) -> None:
    """Print the access rules (ACLs) that the account of a role needs, and no others.

    Nothing is changed, and no server is asked. A process that starts without one of these rules
    ends with KAFKA_RIGHT_MISSING, which names it.
    """
    settings = command_settings(find=False)
    topics = Topics(settings.topics)
    known = [*roles(installed_pipelines(settings.pipelines)), SERVE]
    if role not in (*known, *PEOPLE, EVERY_ROLE):
        raise typer.BadParameter(f"there is no role {role!r}; {', '.join((*known, *PEOPLE))}, all")
    kind, _, name = principal.partition(":")
    if not kind or not name:
        raise typer.BadParameter("--principal must be TYPE:NAME, as in User:orchestrator")
    chosen = known if role == EVERY_ROLE else [role]
    rights = merged(right for one in chosen for right in acls_of(one, topics))
    if form is AclFormat.JSON:
        print_json([_as_json(right, principal) for right in rights])
        return
    command = _kafka if form is AclFormat.KAFKA else _confluent
    for right in rights:
        print_line(command(right, principal))


def _kafka(right: AclRule, principal: str) -> str:
    operations = " ".join(f"--operation {operation}" for operation in right.operations)
    named = (
        "--cluster" if right.resource is Resource.CLUSTER else f"--{right.resource} {right.name}"
    )
    pattern = " --resource-pattern-type prefixed" if right.prefixed else ""
    return (
        'kafka-acls.sh --bootstrap-server "$BOOTSTRAP" --command-config "$ADMIN_PROPERTIES" --add '
        f"--allow-principal {shlex.quote(principal)} {operations} {named}{pattern}"
    )


def _confluent(right: AclRule, principal: str) -> str:
    operations = ",".join(_kebab(operation) for operation in right.operations)
    resource = "consumer-group" if right.resource is Resource.GROUP else str(right.resource)
    named = (
        "--cluster-scope" if right.resource is Resource.CLUSTER else f"--{resource} {right.name}"
    )
    prefix = " --prefix" if right.prefixed else ""
    return (
        f"confluent kafka acl create --allow --principal {shlex.quote(principal)} "
        f"--operations {operations} {named}{prefix}"
    )


def _kebab(operation: str) -> str:
    """``DescribeConfigs`` as ``describe-configs``."""
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in operation).lstrip("-")


def _as_json(right: AclRule, principal: str) -> dict[str, object]:
    return {
        "principal": principal,
        "resource": right.resource,
        "name": right.name,
        "pattern": "prefixed" if right.prefixed else "literal",
        "operations": list(right.operations),
    }
