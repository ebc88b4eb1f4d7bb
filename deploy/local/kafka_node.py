"""One Kafka node in KRaft mode from its jars."""

from __future__ import annotations

import base64
import os
import subprocess
import uuid
from collections.abc import Mapping
from pathlib import Path

from deploy.local.jars import fetch_jars
from deploy.local.processes import Process, ServiceError, launch

SETTINGS = Path(__file__).parents[1] / "kafka" / "server.properties"
_LOGGING = Path(__file__).parents[1] / "kafka" / "log4j2.properties"
_JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
_SCRATCH = "services-check"


def start_kafka(folder: Path, port: int, controller_port: int, further: Mapping[str, str] | None = None) -> Process:
    """Start the broker with its data, log and settings below the folder; format the data on the first start.

    Args:
        further: settings of the broker that take the place of ours.
    Raises:
        ServiceError: the data folder cannot be formatted.
    """
    settings = folder / "server.properties"
    _write_settings(settings, folder / "data", port, controller_port, further or {})
    java = _java(folder)
    if not (folder / "data" / "meta.properties").exists():
        _format(java, settings)
    return launch([*java, "kafka.Kafka", os.fspath(settings)], folder / "pid", folder / "output.log", os.environ)


def kafka_answers(address: str, limit_seconds: float) -> None:
    """Return when the broker lists topics, acknowledges a record, gives it back, and keeps a group's offset.

    Raises:
        ServiceError: it did not within the limit.
    """
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.errors import KafkaError
    from kafka.structs import OffsetAndMetadata

    limit_ms = int(limit_seconds * 1000)
    common = {"bootstrap_servers": address, "bootstrap_timeout_ms": limit_ms}
    try:
        with KafkaAdminClient(**common) as admin:
            if _SCRATCH not in admin.list_topics():
                topic = {"num_partitions": 1, "configs": {"retention.ms": "3600000"}}
                admin.create_topics({_SCRATCH: topic}, wait_for_metadata=True)
        producer = KafkaProducer(acks="all", **common)
        token = os.urandom(16)
        written = producer.send(_SCRATCH, token).get(timeout=limit_seconds)
        producer.close()
        consumer = KafkaConsumer(group_id=_SCRATCH, enable_auto_commit=False, **common)
        place = TopicPartition(_SCRATCH, 0)
        consumer.assign([place])
        consumer.seek(place, written.offset)
        records = consumer.poll(timeout_ms=limit_ms, max_records=1).get(place, [])
        consumer.commit({place: OffsetAndMetadata(written.offset + 1, "", -1)})
        consumer.close(autocommit=False)
    except KafkaError as error:
        raise ServiceError(f"Kafka at {address} does not answer: {error!r}") from error
    if [record.value for record in records] != [token]:
        raise ServiceError(f"Kafka at {address} did not give back the record that it had acknowledged")


def _write_settings(path: Path, data: Path, port: int, controller_port: int, further: Mapping[str, str]) -> None:
    listeners = f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}"
    own = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "log.dirs": data,
        **further,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SETTINGS.read_text() + "\n" + "".join(f"{name}={value}\n" for name, value in own.items()))


def _java(folder: Path) -> list[str]:
    logging = (f"-Dlog4j2.configurationFile={_LOGGING}", f"-Dneardup.logs={folder}")
    return ["java", *_JVM, *logging, "-cp", f"{fetch_jars()}/*"]


def _format(java: list[str], settings: Path) -> None:
    words = ["kafka.tools.StorageTool", "format", "-t", _cluster_id(), "-c", os.fspath(settings)]
    done = subprocess.run([*java, *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServiceError(f"Kafka could not format its data folder:\n{(done.stdout + done.stderr).strip()}")


def _cluster_id() -> str:
    """Return 16 random bytes as Kafka writes ids; one that begins with a dash would be taken for an option."""
    return "n" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
