from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaTimeoutError
from redis import Redis

from deploy.local import jars
from deploy.local.processes import Process, find, launch, stop, write_whole
from deploy.local.services import Ports, Services
from tests.integration.conftest import SCRIPT
from tests.timing import LATE_SECONDS, until

pytestmark = pytest.mark.integration


def services_command(*words: str, data: Path) -> subprocess.CompletedProcess[str]:
    action, *rest = words
    return subprocess.run(
        [SCRIPT, action, "--data", data, *rest], capture_output=True, text=True, timeout=LATE_SECONDS, check=False
    )


def status(data: Path) -> dict[str, dict[str, int]]:
    told: dict[str, dict[str, int]] = json.loads(services_command("status", "--json", data=data).stdout)
    return told


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder with services that these tests may kill."""
    data = tmp_path_factory.mktemp("own")
    started = services_command("start", data=data)
    assert started.returncode == 0, started.stderr
    yield data
    assert services_command("stop", data=data).stderr == ""
    assert services_command("status", data=data).returncode == 3


def test_start_prints_what_a_shell_can_take(own: Path) -> None:
    printed = services_command("start", data=own).stdout
    told = subprocess.run(
        ["sh", "-c", f"{printed}\nprintenv NEARDUP_KAFKA NEARDUP_REDIS NEARDUP_BLOBS NEARDUP_STATE_FOLDER"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    ports = Services(own).ports
    assert ports is not None
    addresses = [f"127.0.0.1:{ports.kafka}", f"redis://127.0.0.1:{ports.redis}/0"]
    assert told.stdout.splitlines() == [*addresses, str(own / "blobs"), str(own / "state")]


def test_starting_what_runs_changes_nothing(own: Path) -> None:
    before, noted = status(own), (own / "ports.json").stat().st_mtime_ns
    assert services_command("start", data=own).returncode == 0
    assert (own / "ports.json").stat().st_mtime_ns == noted, "whoever asks for an address meanwhile finds half a file"
    assert {name: one["pid"] for name, one in status(own).items()} == {name: one["pid"] for name, one in before.items()}


def test_status_tells_memory(own: Path) -> None:
    told = status(own)
    assert 50e6 < told["kafka"]["resident_bytes"] < 1e9
    assert 1e6 < told["redis"]["resident_bytes"] < 100e6


def test_acknowledged_data_survive_a_kill_and_the_addresses_stay(own: Path) -> None:
    addresses = Services(own).environment
    with KafkaAdminClient(bootstrap_servers=addresses["NEARDUP_KAFKA"]) as admin:
        admin.create_topics({"kept": {"num_partitions": 1}}, wait_for_metadata=True)
    producer = KafkaProducer(bootstrap_servers=addresses["NEARDUP_KAFKA"])
    assert producer.send("kept", b"before the kill").get(timeout=LATE_SECONDS).offset == 0
    producer.close()
    with Redis.from_url(addresses["NEARDUP_REDIS"]) as client:
        client.set("kept", "before the kill")
    killed = status(own)
    for one in killed.values():
        os.kill(one["pid"], signal.SIGKILL)

    assert services_command("start", data=own).returncode == 0

    assert Services(own).environment == addresses
    assert all(status(own)[name]["pid"] != one["pid"] for name, one in killed.items())
    consumer = KafkaConsumer(bootstrap_servers=addresses["NEARDUP_KAFKA"], auto_offset_reset="earliest")
    consumer.assign([TopicPartition("kept", 0)])
    [records] = consumer.poll(timeout_ms=120_000).values()
    consumer.close()
    assert [record.value for record in records] == [b"before the kill"]
    with Redis.from_url(addresses["NEARDUP_REDIS"]) as client:
        assert client.get("kept") == b"before the kill"


def test_no_topic_is_made_by_writing_to_it(kafka: str, admin: KafkaAdminClient) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka, max_block_ms=500)
    with pytest.raises(KafkaTimeoutError):
        producer.send("mistyped", b"x").get(timeout=LATE_SECONDS)
    producer.close()
    assert "mistyped" not in admin.list_topics()


def test_services_listen_on_one_loopback_address_only(own: Path) -> None:
    ports = Services(own).ports
    assert ports is not None
    for port in (ports.kafka, ports.controller, ports.redis):
        socket.create_connection(("127.0.0.1", port), timeout=LATE_SECONDS).close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port), timeout=LATE_SECONDS)


def test_redis_keeps_every_key_and_writes_to_disk(redis: str) -> None:
    with Redis.from_url(redis, decode_responses=True) as client:
        found = {
            name: client.config_get(name)[name]
            for name in ("appendonly", "appendfsync", "maxmemory-policy", "protected-mode", "save")
        }
    assert found == {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",
        "protected-mode": "yes",
        "save": "",
    }


def test_run_gives_addresses_to_the_command_and_its_exit_code_back(own: Path, tmp_path: Path) -> None:
    command = [
        SCRIPT,
        "run",
        "--data",
        own,
        "--",
        sys.executable,
        "-c",
        "import os; print(os.getcwd()); raise SystemExit(7)",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LATE_SECONDS, check=False)
    assert (done.stdout.strip(), done.returncode) == (os.fspath(tmp_path), 7)
    assert len(Services(own).running) == 2, "run stopped services that it had not started"


def test_run_takes_a_command_and_the_others_none(tmp_path: Path) -> None:
    assert services_command("run", data=tmp_path).returncode == 2
    assert services_command("start", "--", "true", data=tmp_path).returncode == 2


def test_ports_of_the_last_start_are_taken_unless_someone_has_them(tmp_path: Path) -> None:
    services = Services(tmp_path)
    first = services.choose_ports({})
    (tmp_path / "ports.json").write_text(json.dumps(first.__dict__))
    assert services.choose_ports({}) == first
    with socket.create_server(("127.0.0.1", first.redis)):
        second = services.choose_ports({})
    assert second == Ports(first.kafka, first.controller, second.redis)
    assert second.redis not in first.__dict__.values()


def test_a_note_is_read_whole_while_it_is_written(tmp_path: Path) -> None:
    note = tmp_path / "note"
    write_whole(note, "old")
    with note.open() as reader:
        write_whole(note, "new")
        assert (reader.read(), note.read_text()) == ("old", "new")
    assert list(tmp_path.iterdir()) == [note]


def test_a_process_that_ignores_the_request_is_killed(tmp_path: Path) -> None:
    stubborn = launch(
        ["sh", "-c", "trap '' TERM; echo ready; sleep 600 & wait; sleep 600"],
        tmp_path / "pid",
        tmp_path / "out",
        os.environ,
    )
    until(lambda: (tmp_path / "out").read_text(), "it is ready")
    assert stop([stubborn], limit_seconds=0.2) == [stubborn]
    assert find(tmp_path / "pid") is None


def test_a_stranger_with_a_reused_id_is_not_touched(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as stranger:
        stale = tmp_path / "pid"
        stale.write_text(f"{stranger.pid} 1\n")
        assert find(stale) is None
        assert stop([Process(stranger.pid, "1")], limit_seconds=1) == []
        assert stranger.poll() is None
        stranger.kill()


def test_a_cache_that_lacks_bytes_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", os.fspath(tmp_path))
    folder = jars.cache_folder()
    folder.mkdir(parents=True)
    fetched: list[Path] = []

    def fetch(target: Path) -> None:
        fetched.append(target)
        (target / "kafka.jar").write_bytes(b"12345")
        (target / "complete.json").write_text('{"kafka.jar": 5}')

    monkeypatch.setattr(jars, "_fetch", fetch)
    assert jars.fetch_jars() == folder
    assert jars.fetch_jars() == folder
    assert fetched == [folder]
    (folder / "kafka.jar").write_bytes(b"1234")
    jars.fetch_jars()
    assert fetched == [folder, folder]
