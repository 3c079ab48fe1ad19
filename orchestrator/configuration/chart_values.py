"""``values.schema.json`` of the Helm chart: its own values, and the keys of the configuration file.

``python -m orchestrator.configuration.chart_values`` prints it; ``make configuration`` writes the
file, and a test fails when the file is stale.
"""

import json
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from orchestrator.configuration.keys import keys
from orchestrator.configuration.schema import config_schema

FILE = "deploy/helm/ai-orchestrator/values.schema.json"

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_NAMED: Schema = {"type": "string", "minLength": 1}
_FLAG: Schema = {"type": "boolean"}
_DNS_LABEL = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SIZE: Schema = {"type": "string", "pattern": r"^[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?$"}
_ANY: Schema = {"type": "object"}
_LIST: Schema = {"type": "array", "items": {"type": "object"}}
_PORTS: Schema = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 65535}}
_REPOSITORY = "^[A-Za-z0-9]+([._:/-]+[A-Za-z0-9]+)*$"
_OURS = "^(app[.]kubernetes[.]io/(name|instance|version|managed-by|component)|helm[.]sh/chart)$"
"""Labels that the chart gives: a second one of the name would be two keys of one mapping."""
_LABELS: Schema = {"type": "object", "propertyNames": {"not": {"pattern": _OURS}}}
_NOTES: Schema = {"type": "object", "propertyNames": {"not": {"const": "checksum/config"}}}
_EVERYWHERE = r"(0\.0\.0\.0|\[::\])?"
"""A host whose ports are reached from outside of the pod."""
_STEP_NAME = "^[a-z][a-z0-9_]*$"
_ONE_REFERENCE = r"([A-Za-z0-9_.-]+[=:])*(file:[^ ,]+|\$\{[A-Za-z_][A-Za-z0-9_]*\})"
_REFERENCE = rf"^{_ONE_REFERENCE}([ ,]+{_ONE_REFERENCE})*$"
_PLAIN_ADDRESS = r"^[a-z0-9+]+://([^:@/]*@)?[^@]*$"
_QUERY_PASSWORD = r"[?&]password="


def chart_schema() -> Schema:
    """The schema of all values. Draft 2020-12.

    A secret is refused where it would end in a ConfigMap or in the spec of a pod.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart ai-orchestrator",
        **_closed(_values()),
        "$defs": {"secret": _reference(), "address": _address(), "env": _env()},
    }


def text() -> str:
    """The whole file."""
    return json.dumps(chart_schema(), indent=2) + "\n"


def _values() -> dict[str, Schema]:
    step = {**_component(), "replicas": _number(0), "autoscaling": _replicas()}
    job = {**_component(), "enabled": _FLAG}
    return {
        "global": _ANY,
        # A name that begins names of objects.
        "nameOverride": {"type": "string", "pattern": f"^({_DNS_LABEL})?$", "maxLength": 28},
        "fullnameOverride": {"type": "string", "pattern": f"^({_DNS_LABEL})?$", "maxLength": 28},
        "image": _closed(
            {
                "repository": {"type": "string", "pattern": _REPOSITORY},
                "tag": {"type": "string", "pattern": "^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"},
                "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
                "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                "pullSecrets": {"type": "array", "items": _NAMED},
            }
        ),
        "config": _config(),
        "pipelines": {
            "type": "object",
            "propertyNames": {"pattern": r"^[A-Za-z0-9._-]+\.yaml$"},
            "additionalProperties": _NAMED,
        },
        "secrets": _secrets(),
        "staticMembership": _FLAG,
        "pods": _closed(
            {
                **_placement(),
                "labels": _LABELS,
                "annotations": _NOTES,
                "topologySpread": _FLAG,
                "tmpSizeLimit": _SIZE,
                "endedTasksSizeLimit": _SIZE,
            }
        ),
        "stopSeconds": _number(39),
        "combined": _closed({**_component(), "enabled": _FLAG}),
        **{name: _closed({**_component(), "replicas": _number(0)}) for name in _SINGLE},
        "serve": _closed(
            {
                **_component(),
                "replicas": _number(0),
                "service": _closed(
                    {
                        "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                        "annotations": _ANY,
                    }
                ),
            }
        ),
        "stepDefaults": _closed(step),
        "steps": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": _STEP_NAME},
            "additionalProperties": {**_closed(step), "type": ["object", "null"]},
        },
        "topicsJob": _closed(job),
        "migrateJob": _closed({**job, "existingSecret": _TEXT}),
        "autoscaling": _closed(
            {
                "enabled": _FLAG,
                "prometheus": _closed({"serverAddress": _NAMED, "authentication": _TEXT}),
                "pollingSeconds": _number(1),
                "slotsInUse": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                "scaleDownSeconds": _number(0),
            }
        ),
        "podDisruptionBudgets": _FLAG,
        "networkPolicies": _network(),
        "ingress": _closed({"http": _ingress(), "grpc": _ingress()}),
        "monitoring": _closed(
            {
                **dict.fromkeys(("podMonitor", "rules", "dashboards"), _FLAG),
                "labels": _LABELS,
                "interval": {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"},
                "runbookUrl": _NAMED,
            }
        ),
    }


_SINGLE = ("router", "sink", "dlqIndex")
"""Components that have one StatefulSet and nothing else."""


def _component() -> dict[str, Schema]:
    account = _closed({"username": _NAMED, "existingSecret": _NAMED})
    return {**_placement(), "resources": _ANY, "kafka": account}


def _placement() -> dict[str, Schema]:
    return {
        "env": {"$ref": "#/$defs/env"},
        "nodeSelector": _ANY,
        "tolerations": _LIST,
        "affinity": _ANY,
        "priorityClassName": _TEXT,
    }


def _replicas() -> Schema:
    # At least one: the group of a step without members is an alert.
    return _closed({"minReplicas": _number(1), "maxReplicas": _number(1)})


def _secrets() -> Schema:
    folder = _closed({"existingSecret": _TEXT})
    postgres = {
        "existingSecret": _NAMED,
        "dsnKey": _NAMED,
        "readerDsnKey": _TEXT,
        "caKey": _TEXT,
    }
    names = ("kafka", "api", "apiTls", "services")
    return _closed({"postgres": _closed(postgres), **dict.fromkeys(names, folder)})


def _network() -> Schema:
    rule = _closed({"to": _LIST, "ports": _PORTS})
    return _closed(
        {
            "enabled": _FLAG,
            "callers": _LIST,
            "prometheus": _LIST,
            **dict.fromkeys(("kafka", "postgres", "services"), rule),
            "egress": _LIST,
        }
    )


def _ingress() -> Schema:
    return _closed(
        {
            "enabled": _FLAG,
            "className": _TEXT,
            "host": _TEXT,
            "annotations": _ANY,
            "tlsSecret": _TEXT,
        }
    )


def _config() -> Schema:
    schema = {k: v for k, v in config_schema().items() if k not in ("$schema", "title")}
    for key in keys().values():
        if key.secret:
            section = _section(schema, key.path[:-1])
            described = section["properties"][key.path[-1]]["description"]
            kind = "address" if key.path in _ADDRESSES else "secret"
            section["properties"][key.path[-1]] = {
                "$ref": f"#/$defs/{kind}",
                "description": described,
            }
    for path in _REQUIRED:
        for depth in range(len(path)):
            section = _section(schema, path[:depth])
            section["type"] = "object"
            names = section.setdefault("required", [])
            if path[depth] not in names:
                names.append(path[depth])
    for place, narrower in _NARROWER.items():
        _section(schema, place[:-1])["properties"][place[-1]] |= narrower
    return schema


_ADDR: Schema = {"pattern": f"^{_EVERYWHERE}:[1-9][0-9]{{0,4}}$"}
_NARROWER: Mapping[tuple[str, ...], Schema] = MappingProxyType(
    {
        ("server", "http", "addr"): _ADDR,
        ("server", "grpc", "addr"): _ADDR,
        ("metrics", "host"): {"enum": ["0.0.0.0", "::"]},
        ("topics", "partitions"): {"type": "integer", "minimum": 1},
        # It is a part of Prometheus' queries.
        ("topics", "prefix"): {"type": "string", "pattern": "^[A-Za-z0-9._-]{0,100}$"},
    }
)
"""What works in a pod, of what a process takes."""


_ADDRESSES = (
    ("data", "database", "source"),
    ("data", "database", "reader_dsn"),
    ("schemas", "registry_url"),
)
"""Secret keys that are addresses, which may hold a password."""

_REQUIRED = (
    ("data", "kafka", "bootstrap"),
    ("metrics", "port"),
    ("server", "grpc", "addr"),
    ("server", "http", "addr"),
    ("topics", "partitions"),
    ("topics", "prefix"),
    ("worker", "slots"),
)
"""What the templates compute with."""


def _section(schema: Schema, path: tuple[str, ...]) -> Schema:
    for name in path:
        schema = schema["properties"][name]
    return schema


def _reference() -> Schema:
    """``file:PATH`` or ``${NAME}``, or several of them."""
    nested = {"$ref": "#/$defs/secret"}
    return {
        "anyOf": [
            {"type": "null"},
            {"type": "string", "pattern": _REFERENCE},
            {"type": "object", "additionalProperties": nested},
            {"type": "array", "items": nested},
        ]
    }


def _address() -> Schema:
    """A reference, or an address without a password."""
    plain = {"type": "string", "pattern": _PLAIN_ADDRESS, "not": {"pattern": _QUERY_PASSWORD}}
    return {"anyOf": [{"$ref": "#/$defs/secret"}, plain]}


def _env() -> Schema:
    secret = [key.variable for key in keys().values() if key.secret]
    in_the_clear = {"required": ["value"], "properties": {"name": {"enum": secret}}}
    return {
        "type": "array",
        "items": {"type": "object", "required": ["name"], "not": in_the_clear},
    }


def _number(least: int) -> Schema:
    return {"type": "integer", "minimum": least}


def _closed(properties: Mapping[str, Schema]) -> Schema:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


if __name__ == "__main__":
    sys.stdout.write(text())
