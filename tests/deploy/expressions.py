"""The expressions of rules and dashboards, and which metrics they name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import yaml
from prometheus_client import Histogram
from prometheus_client.metrics import MetricWrapperBase

from neardup.workers.run import telemetry

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
DASHBOARDS = Path(__file__).parents[2] / "deploy" / "grafana" / "dashboards"
_OF_PROMETHEUS = {"up"}
_NAME = re.compile(r"\b(?:up|[a-z_]*:?neardup_[a-z0-9_:]+)\b")


@dataclass(frozen=True)
class Rule:
    """A recording or alerting rule; those of a group whose name ends with `-gpu` need a GPU."""

    name: str
    alert: bool
    expression: str
    gpu: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order of their files."""
    return tuple(
        Rule(
            one.get("alert") or one["record"],
            "alert" in one,
            one["expr"],
            group["name"].endswith("-gpu"),
            one.get("labels", {}),
            one.get("annotations", {}),
        )
        for path in sorted((FOLDER / "rules").glob("*.yml"))
        for group in yaml.safe_load(path.read_text())["groups"]
        for one in group["rules"]
    )


@dataclass(frozen=True)
class Target:
    """An expression of a panel; those of a dashboard that is tagged `gpu` need a GPU."""

    dashboard: str
    title: str
    expression: str
    gpu: bool

    @property
    def name(self) -> str:
        return f"{self.dashboard}: {self.title}"


@cache
def targets() -> tuple[Target, ...]:
    """Return the expressions of all panels, for all tenants."""
    return tuple(
        Target(path.stem, panel["title"], target["expr"].replace("$tenant", ".*"), "gpu" in board["tags"])
        for path in sorted(DASHBOARDS.glob("*.json"))
        for board in [json.loads(path.read_text())]
        for panel in board["panels"]
        for target in panel["targets"]
    )


def metrics_in(expression: str) -> set[str]:
    """Return the names of series in an expression."""
    return set(_NAME.findall(re.sub(r"\{[^}]*\}|\"[^\"]*\"", "", expression)))


def unknown_metrics(expression: str) -> set[str]:
    """Return those that no worker, no rule and not Prometheus itself has."""
    recorded = {rule.name for rule in rules() if not rule.alert}
    return metrics_in(expression) - _declared() - recorded - _OF_PROMETHEUS


@cache
def _declared() -> frozenset[str]:
    names = set()
    for metric in vars(telemetry).values():
        if isinstance(metric, MetricWrapperBase):
            name, kind = metric.describe()[0].name, metric._type
            suffixes = ("_bucket", "_sum", "_count") if isinstance(metric, Histogram) else ("",)
            names |= {f"{name}_total"} if kind == "counter" else {name + suffix for suffix in suffixes}
    return frozenset(names)
