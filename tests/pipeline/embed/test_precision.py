from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neardup.pipeline.embed import precision
from neardup.pipeline.embed.precision import choose_precision


class Core:
    """A processor that has bfloat16, or none."""

    def __init__(self, *capabilities: str) -> None:
        self.capabilities = capabilities

    def get_property(self, _: str, name: str) -> Any:
        return list(self.capabilities) if name == "OPTIMIZATION_CAPABILITIES" else "A processor"


class Network:
    """What the two precisions need and say: three descriptors of 2 + 2 numbers, those of bfloat16 turned by angles."""

    seconds = 0.5
    angle = similar_angle = 0.01

    def run(self, *given: Any) -> tuple[float, Any]:
        if given[-1] == "f32":
            return 1.0, np.tile(np.float32([1, 0, 1, 0]), (3, 1))
        turned = [f(angle) for angle in (self.angle, self.similar_angle) for f in (np.cos, np.sin)]
        return self.seconds, np.stack([np.float32([1, 0, 1, 0]), np.float32(turned), np.float32([1, 0, 1, 0])])


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    found = Network()
    monkeypatch.setattr(precision, "measure_run", found.run)
    return found


@pytest.mark.parametrize(("seconds", "wanted"), [(0.5, "bf16"), (0.95, "f32"), (1.5, "f32")])
def test_bfloat16_is_chosen_where_it_is_clearly_faster(
    network: Network, tmp_path: Path, seconds: float, wanted: str
) -> None:
    network.seconds = seconds
    assert choose_precision(Core("FP32", "BF16"), None, 96, 2, tmp_path / "kept") == wanted


@pytest.mark.parametrize(
    ("angle", "similar_angle", "wanted"),
    [(0.19, 0.19, "bf16"), (0.21, 0.01, "f32"), (0.01, 0.21, "f32"), (np.nan, 0.01, "f32"), (0.01, np.nan, "f32")],
)
def test_bfloat16_is_not_chosen_where_one_descriptor_differs(
    network: Network, tmp_path: Path, angle: float, similar_angle: float, wanted: str
) -> None:
    network.angle, network.similar_angle = angle, similar_angle
    assert choose_precision(Core("BF16"), None, 96, 2, tmp_path / "kept") == wanted


@pytest.mark.usefixtures("network")
def test_a_network_without_a_similar_head_is_judged_by_its_descriptors(tmp_path: Path) -> None:
    assert choose_precision(Core("BF16"), None, 96, 4, tmp_path / "kept") == "bf16"


def test_a_processor_without_bfloat16_is_not_measured(tmp_path: Path) -> None:
    assert choose_precision(Core("FP32"), None, 96, 2, tmp_path / "kept") == "f32"
    assert not list(tmp_path.iterdir())


def test_the_choice_is_kept_until_the_file_is_damaged(network: Network, tmp_path: Path) -> None:
    core, kept = Core("BF16"), tmp_path / "kept"
    assert choose_precision(core, None, 96, 2, kept) == "bf16"
    network.seconds = 2.0
    assert choose_precision(core, None, 96, 2, kept) == "bf16"
    kept.write_bytes(b"\xff?")
    assert choose_precision(core, None, 96, 2, kept) == "f32"


@pytest.mark.usefixtures("network")
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert choose_precision(Core("BF16"), None, 96, 2, tmp_path / "file" / "kept") == "bf16"
