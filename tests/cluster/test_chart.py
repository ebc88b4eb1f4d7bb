"""The Helm chart as Helm renders it: what Kubernetes would refuse, and what would surprise whoever runs it.

`make test-cluster` builds Helm and names it by HELM. What needs no Helm is in tests/deploy/test_chart.py.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import cache
from typing import Any

import pytest
import yaml

from neardup.pipeline.settings import PREFIX, Settings
from neardup.workers.embed.worker import group_of as embed_group
from neardup.workers.kafka.topics import topic_names
from neardup.workers.prove.asks import group_of as prove_group
from tests.deploy.expressions import DASHBOARDS, FOLDER
from tests.deploy.test_chart import CHART, SECRETS, values
from tests.deploy.test_compose import PROGRAM

pytestmark = pytest.mark.skipif("HELM" not in os.environ, reason="`make test-cluster` builds Helm")
Manifest = dict[str, Any]
ALL = (
    "--set=api.enabled=true", "--set=api.tokensSecret=tokens", "--set=webhook.enabled=true",
    "--set=ingest.enabled=true",
    "--set=ingest.mediaClaim=pictures", "--set=existingSecret.name=neardup", "--set=milvus.uri=http://milvus:19530",
    "--set=existingSecret.keys={NEARDUP_REDIS,NEARDUP_KAFKA_SASL_PASSWORD,NEARDUP_WEBHOOK_URL,NEARDUP_WEBHOOK_SECRETS,"
    "NEARDUP_API_SESSION_SECRET,NEARDUP_MILVUS_TOKEN}",
    "--set=kafka.security=sasl_ssl", "--set=kafka.saslMechanism=SCRAM-SHA-512", "--set=kafka.saslUsername=neardup",
    "--set=kafka.tls.existingSecret=kafka-ca", "--set=kafka.tls.clientCertificate=true",
    "--set=redis.tls.existingSecret=redis-ca", "--set=redis.url=rediss://redis:6380/0",
    "--set=networkPolicy.redisPort=6380",
    "--set=api.ingress.enabled=true", "--set=api.ingress.host=neardup.example", "--set=api.ingress.tlsSecret=site",
    "--set=keda.enabled=true", "--set=keda.authentication=kafka", "--set=space=f00d", "--set=tenant=acme",
    "--set=blobs.url=s3://bucket/neardup", "--set=blobs.existingSecret=s3", "--set=monitoring.podMonitor.enabled=true",
    "--set=monitoring.rules.enabled=true", "--set=monitoring.dashboards.enabled=true",
    "--set=serviceAccount.annotations.role=neardup",
)  # fmt: skip
"""Everything that can be switched on."""
LARGE = ("-f", str(CHART / "values-large.yaml"))
GPU = ("-f", str(CHART / "values-gpu.yaml"))
SETS = {"small": (), "large": LARGE, "gpu": GPU, "large-gpu": (*LARGE, *GPU), "all": ALL}
OF_OTHERS = {"PodMonitor", "PrometheusRule", "ScaledObject"}
CLUSTERS = ("1.30", "1.34", "1.37")


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([os.environ["HELM"], *words], capture_output=True, text=True, check=False)


def template(*options: str) -> subprocess.CompletedProcess[str]:
    return helm("template", "neardup", str(CHART), f"--kube-version={CLUSTERS[-1]}", *options)


@cache
def rendered(*options: str) -> tuple[Manifest, ...]:
    done = template("--namespace", "pictures", *options)
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def of_kind(kind: str, *options: str) -> dict[str, Manifest]:
    return {one["metadata"]["name"]: one for one in rendered(*options) if one["kind"] == kind}


def pods(*options: str) -> dict[str, Manifest]:
    """The pod templates, by component."""
    found = {}
    for one in rendered(*options):
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "containers" in spec.get("template", {}).get("spec", {}):
            found[spec["template"]["metadata"]["labels"]["app.kubernetes.io/component"]] = spec["template"]
    return found


def environment(pod: Manifest) -> dict[str, Any]:
    [container] = pod["spec"]["containers"]
    names = [one["name"] for one in container["env"]]
    assert len(set(names)) == len(names)
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


@pytest.mark.parametrize("options", SETS.values(), ids=SETS)
def test_helm_finds_no_fault(options: tuple[str, ...]) -> None:
    done = helm("lint", "--strict", str(CHART), f"--kube-version={CLUSTERS[-1]}", *options)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("cluster", CLUSTERS)
@pytest.mark.parametrize("options", SETS.values(), ids=SETS)
def test_kubernetes_takes_what_is_rendered(options: tuple[str, ...], cluster: str) -> None:
    import kubernetes_validate

    for one in rendered(*options):
        if one["kind"] not in OF_OTHERS:
            kubernetes_validate.validate(one, cluster, strict=True)


@pytest.mark.parametrize("options", SETS.values(), ids=SETS)
def test_names_are_one_of_a_kind_and_labels_choose_the_pods(options: tuple[str, ...]) -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in rendered(*options)]
    assert len(set(names)) == len(names)
    templates = pods(*options)
    for one in rendered(*options):
        spec = one.get("spec", {})
        selector = spec.get("selector") or spec.get("podSelector")
        if selector and one["kind"] != "PodMonitor":
            wanted = selector.get("matchLabels", selector)
            chosen = [kind for kind, pod in templates.items() if wanted.items() <= pod["metadata"]["labels"].items()]
            assert chosen == [one["metadata"]["labels"]["app.kubernetes.io/component"]], one["metadata"]["name"]


@pytest.mark.parametrize("options", SETS.values(), ids=SETS)
def test_a_pod_may_do_nothing_that_it_need_not(options: tuple[str, ...]) -> None:
    for kind, pod in pods(*options).items():
        spec, [container] = pod["spec"], pod["spec"]["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False  # a Service's variables would be unknown settings
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
        }  # fmt: skip
        mounted = {one["name"] for one in container["volumeMounts"]}
        volumes = {one["name"] for one in spec["volumes"]}
        assert mounted - volumes <= ({"data"} if kind in ("match", "api") else set())
        assert "/tmp" in {one["mountPath"] for one in container["volumeMounts"]}
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("options", SETS.values(), ids=SETS)
def test_settings_are_such_as_the_program_takes(options: tuple[str, ...]) -> None:
    for kind, pod in pods(*options).items():
        given = {name: value for name, value in environment(pod).items() if name.startswith(PREFIX)}
        plain = {name: value for name, value in given.items() if isinstance(value, str)}
        assert not {name for name in SECRETS & plain.keys() if "@" in plain[name]}
        assert not (plain.keys() & SECRETS) - {"NEARDUP_REDIS"}
        settings = Settings(**{name.removeprefix(PREFIX).lower(): value for name, value in plain.items()})
        assert settings.health_host == "0.0.0.0", kind


@pytest.mark.parametrize("options", SETS.values(), ids=SETS)
def test_commands_are_such_as_the_program_takes_and_probes_ask_their_port(options: tuple[str, ...]) -> None:
    for kind, pod in pods(*options).items():
        [container] = pod["spec"]["containers"]
        program: Any = PROGRAM
        words = list(container["args"])
        while hasattr(program, "commands"):
            program = program.commands[words.pop(0)]
        parameters = program.make_context(kind, words).params
        if "startupProbe" in container:
            [metrics] = [one["containerPort"] for one in container["ports"] if one["name"] == "metrics"]
            assert metrics == parameters["port"]
            probes = [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")]
            assert [one["path"] for one in probes] == ["/healthz", "/healthz", "/readyz"]
            assert {one["port"] for one in probes} == {"metrics"}


def test_a_secret_goes_to_the_workers_that_need_it_and_to_no_others() -> None:
    has = {
        kind: {name for name, value in environment(pod).items() if isinstance(value, dict) and "secretKeyRef" in value}
        for kind, pod in pods(*ALL).items()
    }
    kafka = {"NEARDUP_KAFKA_SASL_PASSWORD"}
    assert has == {
        "embed": kafka, "prove": kafka, "topics": kafka, "ingest": kafka,
        "match": kafka | {"NEARDUP_MILVUS_TOKEN"},
        "flag": kafka | {"NEARDUP_REDIS"},
        "webhook": kafka | {"NEARDUP_WEBHOOK_URL", "NEARDUP_WEBHOOK_SECRETS"},
        "api": kafka | {"NEARDUP_REDIS", "NEARDUP_API_SESSION_SECRET", "NEARDUP_MILVUS_TOKEN"},
    }  # fmt: skip


@pytest.mark.parametrize("options", [(), ALL], ids=["volume", "object store"])
def test_the_blob_store_is_there_for_those_that_use_it(options: tuple[str, ...]) -> None:
    for kind, pod in pods(*options).items():
        [container] = pod["spec"]["containers"]
        uses = kind in {"embed", "prove", "flag", "api", "ingest"}
        mounts = {one["mountPath"] for one in container["volumeMounts"]}
        place = environment(pod).get("NEARDUP_BLOBS")
        assert place == ("s3://bucket/neardup" if options else "/var/lib/neardup-blobs") if uses else place is None
        assert (place in mounts) == (uses and not options)
        assert ("envFrom" in container) == (uses and bool(options))


def test_two_match_workers_have_volumes_of_their_own() -> None:
    match = of_kind("StatefulSet")["neardup-match"]["spec"]
    assert (match["replicas"], match["podManagementPolicy"]) == (2, "Parallel")
    [claim] = match["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    [container] = match["template"]["spec"]["containers"]
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert environment(match["template"])["NEARDUP_STATE_FOLDER"].startswith(mounts["data"])


@pytest.mark.parametrize("tenant", ["", "acme"])
def test_scaling_follows_the_topics_and_groups_of_the_workers(tenant: str) -> None:
    options = ("--set=keda.enabled=true", "--set=space=f00d", f"--set=tenant={tenant}", "--set=kafka.topicPrefix=prod")
    settings = Settings(topic_prefix="prod", tenant=tenant)
    names = topic_names(settings.topic_root, "f00d")
    triggers = {name: one["spec"]["triggers"][0]["metadata"] for name, one in of_kind("ScaledObject", *options).items()}
    assert {name: (one["topic"], one["consumerGroup"]) for name, one in triggers.items()} == {
        "neardup-embed": (names.media, embed_group(settings, "f00d")),
        "neardup-prove": (names.asks, prove_group(names.asks)),
    }
    for name in triggers:
        assert "replicas" not in of_kind("Deployment", *options)[name]["spec"]  # KEDA's


def test_scaling_logs_in_to_kafka_as_the_workers_do() -> None:
    for one in of_kind("ScaledObject", *ALL).values():
        [trigger] = one["spec"]["triggers"]
        assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == ("scram_sha512", "enable")
        assert trigger["authenticationRef"] == {"name": "kafka"}


def test_the_page_of_operations_finds_all_workers() -> None:
    api = environment(pods(*ALL)["api"])["NEARDUP_API_WORKERS"]
    services = of_kind("Service", *ALL)
    for one in api.split(","):
        kind, _, address = one.partition("=")
        name, _, port = address.partition(":")
        assert services[name]["spec"]["clusterIP"] == "None"
        assert services[name]["spec"]["ports"][0]["port"] == int(port)
        assert services[name]["spec"]["selector"]["app.kubernetes.io/component"] == kind
    assert {one.partition("=")[0] for one in api.split(",")} == {"embed", "match", "flag", "prove", "webhook", "api"}


def test_prometheus_gets_the_labels_that_rules_count_on() -> None:
    [monitor] = of_kind("PodMonitor", *ALL).values()
    [endpoint] = monitor["spec"]["podMetricsEndpoints"]
    labels = pods(*ALL)["embed"]["metadata"]["labels"]
    told = {"job": endpoint["relabelings"][0]["replacement"]}
    for rule in endpoint["relabelings"][1:]:
        [source] = rule["sourceLabels"]
        named = {"__meta_kubernetes_pod_label_" + key.translate(str.maketrans("./-", "___")): key for key in labels}
        told[rule["targetLabel"]] = labels[named[source]]
    assert told == {"job": "neardup", "worker": "embed", "tenant": "acme", "space": "f00d"}
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_rules_and_dashboards_are_rendered_whole() -> None:
    options = (*LARGE, "--set=monitoring.rules.gpu=true")
    rules = {name.removeprefix("neardup-"): one["spec"] for name, one in of_kind("PrometheusRule", *options).items()}
    assert rules == {path.stem: yaml.safe_load(path.read_text()) for path in (FOLDER / "rules").glob("*.yml")}
    assert "neardup-gpu" not in of_kind("PrometheusRule", *LARGE)
    boards = {key: text for one in of_kind("ConfigMap", *LARGE).values() for key, text in one["data"].items()}
    assert boards == {path.name: path.read_text() for path in DASHBOARDS.glob("*.json")}
    for text in boards.values():
        json.loads(text)


def test_network_policies_let_through_what_workers_need_and_the_rest_not() -> None:
    policies = of_kind("NetworkPolicy", *ALL)
    assert set(policies) == {f"neardup-{kind}" for kind in pods(*ALL)}

    def out(kind: str) -> set[int]:
        return {port["port"] for rule in policies[f"neardup-{kind}"]["spec"]["egress"] for port in rule["ports"]}

    services = {53, 9092, 6380, 19530}
    assert out("match") == out("topics") == services
    assert out("embed") == out("flag") == out("prove") == out("ingest") == services | {80, 443}
    assert out("api") == services | {80, 443, 9401, 9402, 9403, 9404, 9405, 9406}
    incoming = {
        kind: {
            port["port"] for rule in policies[f"neardup-{kind}"]["spec"].get("ingress", []) for port in rule["ports"]
        }
        for kind in pods(*ALL)
    }
    assert incoming == {
        "embed": {9401}, "match": {9402}, "flag": {9403}, "api": {9404, 8630}, "webhook": {9405}, "prove": {9406},
        "topics": set(), "ingest": set(),
    }  # fmt: skip


def test_without_prove_workers_nobody_waits_for_proofs() -> None:
    given = {environment(pod).get("NEARDUP_PROVE") for pod in pods("--set=prove.enabled=false").values()}
    assert given == {"false"}
    assert "prove" not in pods("--set=prove.enabled=false")


def test_topics_are_made_before_the_workers_that_need_them() -> None:
    job = of_kind("Job")["neardup-topics"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    given = environment(pods(*LARGE)["topics"])
    assert (given["NEARDUP_REPLICATION_FACTOR"], given["NEARDUP_MEDIA_PARTITIONS"]) == ("3", "32")
    needed = {one["name"] for one in job["spec"]["template"]["spec"]["volumes"]}
    assert needed == {"tmp"}  # nothing of the release exists yet
    assert "serviceAccountName" not in job["spec"]["template"]["spec"]


def test_gpus_are_asked_for_by_embed_alone() -> None:
    for kind, pod in pods(*GPU).items():
        [container] = pod["spec"]["containers"]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (kind == "embed")
        assert ("nodeSelector" in pod["spec"]) == (kind == "embed")
    assert environment(pods(*GPU)["embed"])["NEARDUP_DEVICE"] == "cuda"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--set=api.enabled=true"], "anyone could take items down"),
        (["--set=api.enabled=true", "--set=api.tokensSecret=t", "--set=api.replicas=2"], "several sign cookies"),
        (["--set=webhook.enabled=true"], "existingSecret.keys lacks"),
        (["--set=existingSecret.keys={NEARDUP_REDIS}"], "name the Secret"),
        (["--set=keda.enabled=true"], "space is empty"),
        (["--set=redis.url=redis://:hunter2@redis:6379"], "redis"),
        (["--set=match.replica=2"], "replica"),
    ],
)
def test_what_would_fail_later_is_refused_with_a_reason(options: list[str], why: str) -> None:
    done = template(*options)
    assert done.returncode != 0
    assert why in done.stderr


def test_values_files_go_on_top_of_each_other() -> None:
    assert values("values-large.yaml", "values-gpu.yaml")["embed"]["keda"]["maxReplicas"] == 8
