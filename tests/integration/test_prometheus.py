"""A real Prometheus over running workers: every expression of every rule and panel has data.

An alert is a comparison, which has no data while all is well: of those it is tried whether what is compared has data,
and fits together.
"""

from __future__ import annotations

import io
import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from neardup.pipeline.log.changes import Outcome, Reviewed
from neardup.pipeline.log.proofs import Ask, Asked
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.redis import RedisStore
from neardup.workers.kafka.clients import connect_producer
from neardup.workers.kafka.log import Appender, encode
from neardup.workers.kafka.topics import topic_names
from tests.deploy.expressions import FOLDER, Rule, Target, rules, targets
from tests.deploy.test_chart import probe_paths
from tests.integration.test_up import CHECKPOINT, environment, ingest, running, until
from tests.pipeline.prove.test_pack import SHA, pack_of
from tests.pipeline.prove.test_prover import a_scene
from tests.pipeline.scan.build import a_picture, save
from tests.ports import free_port
from tests.timing import LATE_SECONDS
from tests.workers.receiver import receiving

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1200)]
__all__ = ["environment"]  # a fixture
ORIGINALS, COPIES = 300, 5


class Prometheus:
    """Asks it."""

    def __init__(self, port: int) -> None:
        self.address = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=2):
                return True
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}", timeout=LATE_SECONDS) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]

    def values(self, expression: str) -> list[float]:
        return [float(one["value"][1]) for one in self.get("query", query=expression)["result"]]


@contextmanager
def prometheus(folder: Path, ports: dict[str, int]) -> Iterator[Prometheus]:
    """Run one as `deploy/prometheus/local.yml` says with a webhook, but quicker and at these ports."""
    config = yaml.safe_load((FOLDER / "local.yml").read_text().replace("# - {targets", "- {targets"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    [job] = config["scrape_configs"]
    for target in job["static_configs"]:
        target["targets"] = [f"127.0.0.1:{ports[target['labels']['worker']]}"]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with subprocess.Popen(command) as process:
        try:
            asked = Prometheus(port)
            until(asked.ready, "Prometheus is ready")
            yield asked
        finally:
            process.terminate()


def parts(one: Rule | Target) -> list[str]:
    """Return what must have data for an expression to mean anything."""
    if not (isinstance(one, Rule) and one.alert):
        return [one.expression]
    text = re.sub(r"\babsent\(", "(", one.expression)
    text = re.sub(r"\bunless\b", "and", text)
    quoted = re.split(r'(\{[^}]*\}|"[^"]*")', text)  # matchers are no comparisons
    quoted[::2] = [re.sub(r"(==|!=|>=|<=|>|<)", r"\1 bool", piece) for piece in quoted[::2]]
    return re.split(r"\bor\b", "".join(quoted))


def without_data(asked: Prometheus, ones: list[Rule | Target]) -> list[str]:
    """Return those of which a part has no data, or nothing but NaN."""
    found = []
    for one in ones:
        for part in parts(one):
            values = asked.values(part)
            if all(map(math.isnan, values)):
                found.append(f"{one.name}: {part}")
    return found


def test_what_is_looked_at_of_an_alert() -> None:
    alert = Rule("a", True, 'absent(up{job="x"}) or y{z=~"5.."} / on () w > 0.1 and v != 1 unless u', gpu=False)
    assert parts(alert) == ['(up{job="x"}) ', ' y{z=~"5.."} / on () w > bool 0.1 and v != bool 1 and u']


def test_every_expression_of_every_rule_and_panel_has_data(
    environment: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    environment |= {"NEARDUP_SCANN_FROM": "256", "NEARDUP_SNAPSHOT_RECORDS": "100", "CANARY_CHECKS_ALL": "1"}
    with (
        receiving(lambda number: 200 if number else 500) as received,
        closing(RedisStore(settings.redis.get_secret_value(), CHECKPOINT.space)) as store,
        running(environment | received.settings, tmp_path, "--api", "--api-port", str(api_port := free_port())) as up,
    ):
        up.await_ready(("embed", "match", "flag", "api", "prove", "webhook"))
        assert answers_to_probes(up.ports()) == dict.fromkeys(up.ports(), 200)
        with prometheus(tmp_path, up.ports()) as asked:
            until(lambda: asked.values("sum(up)") == [6.0], "all are scraped before anything happens")
            for seed in range(ORIGINALS):
                save(tmp_path / "originals", f"{seed}.png", seed)
            (tmp_path / "originals" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture")
            ingest(environment, tmp_path / "originals")
            until(lambda: store.applied() >= ORIGINALS - 1, f"all are told; {up.log()}")
            for seed in range(COPIES):  # one by one: ScaNN is swapped in, and its searches checked, as more comes
                save(tmp_path / str(seed), f"copy-{seed}.png", seed, side=48)
                ingest(environment, tmp_path / str(seed))
            until(lambda: len(store.feed("", 100)) == COPIES, f"copies are flagged; {up.log()}")
            until(lambda: len(received.taken) == COPIES, f"the receiver is told of them; {up.log()}")
            review(settings, store)
            ask(settings, tmp_path / "data" / "neardup" / "blobs")
            look_up(api_port)
            check_page(api_port)
            everything = [*rules(), *targets()]
            wanted = [one for one in everything if not one.gpu]
            deadline = time.monotonic() + LATE_SECONDS
            while (missing := without_data(asked, wanted)) and time.monotonic() < deadline:
                time.sleep(0.5)
            assert missing == []
            for one in everything:
                if one.gpu:  # it can be parsed; without a GPU it has no data
                    asked.get("query", query=one.expression)
            groups = asked.get("rules")["groups"]
            states = {rule["name"]: (rule["health"], rule.get("lastError", "")) for g in groups for rule in g["rules"]}
            assert states == {rule.name: ("ok", "") for rule in rules()}


def answers_to_probes(ports: dict[str, int]) -> dict[str, int]:
    """Return the worst status by which each worker answers what the Helm chart asks it for."""
    worst = {}
    for kind, port in ports.items():
        for path in probe_paths():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LATE_SECONDS) as answer:
                worst[kind] = max(worst.get(kind, 0), answer.status)
    return worst


def review(settings: Settings, store: RedisStore) -> None:
    """Reject one of the duplicates."""
    verdict = store.feed("", 1)[0].verdict
    log = topic_names(settings.topic_prefix, CHECKPOINT.space).log
    record = Reviewed(item=verdict.id, reference=verdict.matches[0].reference, outcome=Outcome.NOT_A_MATCH, by="ann")
    with closing(Appender(settings, log)) as appender:
        appender.append([record])


def ask(settings: Settings, folder: Path) -> None:
    """Have a pair proved."""
    Blobs(folder.as_uri()).put_pack("", "asked", pack_of(a_scene()), SHA.hex())
    pair = Ask(bank="seen", reference="asked", offset=0, sha256=SHA)
    asked = Asked(id="asked", offset=0, sha256=SHA, asks=(pair,))
    with closing(connect_producer(settings)) as producer:
        producer.send(topic_names(settings.topic_prefix, CHECKPOINT.space).asks, encode(asked)).get(LATE_SECONDS)


def check_page(port: int) -> None:
    """Ask for what the page `/ops` shows of the same workers."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ops/figures", timeout=LATE_SECONDS) as answer:
        told = json.load(answer)
    states = {one["kind"]: one["state"] for one in told["workers"]}
    ready = dict.fromkeys(("embed", "flag", "api", "prove", "webhook"), "ready")
    assert states == {"match": "leads", **ready}
    assert told["items"] == ORIGINALS + COPIES
    assert 0 < told["latency"]["p50"] <= told["latency"]["p99"]
    assert told["verdicts"]["shares"]["duplicate"] > 0
    assert [one["reason"] for one in told["dead_letters"]] == ["truncated"]
    assert {one["worker"] for one in told["lag"]} == {"embed", "match", "flag", "prove", "webhook"}
    assert told["descriptors"]["scann"] > 0
    assert told["recall"]["share"] == 1.0


def look_up(port: int) -> None:
    """Ask the API a few times, which has it do what its panels show."""
    for number in range(3):
        file = io.BytesIO()
        a_picture(number).save(file, "PNG")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/match", file.getvalue(), {"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=LATE_SECONDS) as answer:
            assert answer.status == 200
        time.sleep(1)
