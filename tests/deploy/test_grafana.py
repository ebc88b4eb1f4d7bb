"""The dashboards without Grafana: what it would show as an empty panel or a broken one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.expressions import DASHBOARDS, Target, metrics_in, targets, unknown_metrics
from tests.deploy.test_compose import SERVICES, mounts

BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")}
KINDS = {"stat", "timeseries"}


@pytest.mark.parametrize("target", targets(), ids=lambda target: target.name)
def test_every_metric_of_a_panel_is_declared(target: Target) -> None:
    assert metrics_in(target.expression)
    assert unknown_metrics(target.expression) == set()


@pytest.mark.integration
def test_every_expression_can_be_parsed(tmp_path: Path) -> None:
    rules = [{"record": f"panel_{number}", "expr": target.expression} for number, target in enumerate(targets())]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_lie_over_each_other(name: str) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[name]["panels"]:
        assert panel["type"] in KINDS
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken
        taken |= cells


def test_grafana_finds_the_dashboards_and_their_data() -> None:
    folders = mounts(SERVICES["grafana"])
    [provider] = yaml.safe_load((DASHBOARDS / "provider.yml").read_text())["providers"]
    assert (DASHBOARDS.parents[2] / folders[provider["options"]["path"]]).resolve() == DASHBOARDS
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (DASHBOARDS / Path(home).name).exists()
    [source] = yaml.safe_load((DASHBOARDS.parent / "datasources" / "prometheus.yml").read_text())["datasources"]
    assert source["isDefault"]  # panels name none
    assert {board["uid"] for board in BOARDS.values()} == set(BOARDS)
