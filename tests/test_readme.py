"""The documents name what there is: every command, setting and metric."""

from __future__ import annotations

from pathlib import Path

import prometheus_client.metrics
import pytest
import typer.main

from neardup.pipeline import telemetry
from neardup.pipeline.settings import PREFIX, Settings
from neardup.workers.app import app

ROOT = Path(__file__).parents[1]
TEXT = "\n".join((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/stream.md"))
METRICS = [one for one in vars(telemetry).values() if isinstance(one, prometheus_client.metrics.MetricWrapperBase)]


@pytest.mark.parametrize("command", sorted(typer.main.get_command(app).commands))  # type: ignore[attr-defined]
def test_every_command_is_named(command: str) -> None:
    assert f"neardup {command}" in TEXT


@pytest.mark.parametrize("setting", sorted(Settings.model_fields))
def test_every_setting_is_named(setting: str) -> None:
    assert f"`{PREFIX}{setting.upper()}`" in TEXT


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: str(metric.describe()[0].name))
def test_every_metric_is_named(metric: prometheus_client.metrics.MetricWrapperBase) -> None:
    assert f"`{metric.describe()[0].name}" in TEXT


def test_every_file_that_the_readme_links_to_is_there() -> None:
    import re

    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
