"""Writes the list of Kafka's jars again after a change of a version below.

Run ``python -m orchestrator.local.embedded.kafka_jar_list``, write its output into
``orchestrator/local/embedded/kafka_jars.sha256``, and review the difference: from then on,
exactly these bytes are run.
"""

import hashlib
import sys

from jgo.maven import MavenContext

from orchestrator.local.embedded.jars import KAFKA_VERSION

COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Kafka logs by SLF4J; this binding writes to standard error and needs no file.
    "org.slf4j:slf4j-simple:2.0.17",
)


def main() -> None:
    """Resolve the coordinates with their run-time dependencies; print hash and path of each jar."""
    context = MavenContext()
    named, transitive = context.resolver.resolve(
        [context.create_dependency(coordinate) for coordinate in COORDINATES]
    )
    for dependency in named + transitive:
        path = dependency.artifact.resolve()
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        relative = dependency.artifact.component.path_prefix / path.name
        sys.stdout.write(f"{digest}  {relative.as_posix()}\n")


if __name__ == "__main__":
    main()
