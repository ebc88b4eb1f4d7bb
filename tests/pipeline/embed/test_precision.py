from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neardup.pipeline.embed import precision
from neardup.pipeline.embed.precision import choose_precision


class Core:
    """A processor that has bfloat16, or none."""

    def __init__(self, *capabilities: str) -> None:
        self.capabilities = capabilities

    def get_property(self, _: str, name: str) -> Any:
        return list(self.capabilities) if name == "OPTIMIZATION_CAPABILITIES" else "A processor"


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    times = {"f32": 1.0, "bf16": 0.5}
    monkeypatch.setattr(precision, "measure_seconds", lambda *given: times[given[-1]])
    return times


@pytest.mark.parametrize(("bf16", "wanted"), [(0.5, "bf16"), (0.95, "f32"), (1.5, "f32")])
def test_bfloat16_is_chosen_where_it_is_clearly_faster(
    seconds: dict[str, float], tmp_path: Path, bf16: float, wanted: str
) -> None:
    seconds["bf16"] = bf16
    assert choose_precision(Core("FP32", "BF16"), None, 96, tmp_path) == wanted


def test_a_processor_without_bfloat16_is_not_measured(tmp_path: Path) -> None:
    assert choose_precision(Core("FP32"), None, 96, tmp_path) == "f32"
    assert not list(tmp_path.iterdir())


def test_the_choice_is_kept_until_the_file_is_damaged(seconds: dict[str, float], tmp_path: Path) -> None:
    core = Core("BF16")
    assert choose_precision(core, None, 96, tmp_path) == "bf16"
    seconds["bf16"] = 2.0
    assert choose_precision(core, None, 96, tmp_path) == "bf16"
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"\xff?")
    assert choose_precision(core, None, 96, tmp_path) == "f32"


def test_a_folder_that_cannot_be_written_is_no_error(seconds: dict[str, float], tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert seconds
    assert choose_precision(Core("BF16"), None, 96, tmp_path / "file" / "cache") == "bf16"
