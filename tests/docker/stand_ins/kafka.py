"""Starts Kafka in a container as its official image does: variables are its properties.

Source: https://hub.docker.com/r/apache/kafka, "KAFKA_" variables.
"""

import os
import subprocess
import sys
from pathlib import Path

LIBS = "/opt/kafka/libs/*"
PROPERTIES = Path("/tmp/server.properties")
CLUSTER = "5L6g3nShT-eMCtK--X86sw"


def main() -> None:
    settings = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in os.environ.items()
        if name.startswith("KAFKA_")
    }
    PROPERTIES.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    java = ["/opt/java/bin/java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    java += ["-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn", "-cp", LIBS]
    arguments = ["-t", CLUSTER, "-c", str(PROPERTIES), "--ignore-formatted"]
    subprocess.run([*java, "kafka.tools.StorageTool", "format", *arguments], check=True)
    sys.stdout.flush()
    os.execv(java[0], [*java, "kafka.Kafka", str(PROPERTIES)])


if __name__ == "__main__":
    main()
