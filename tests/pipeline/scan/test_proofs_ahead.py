"""Proofs of a scan that threads make ahead."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.prove.prover import Asked, Prover
from neardup.pipeline.report.result import ScanResult
from neardup.pipeline.settings import Settings
from tests.pipeline.scan.build import save, scan_folder


def test_any_number_of_threads_gives_the_same_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(12):
        for number, side in enumerate((64, 96, 160)):
            save(tmp_path, f"{seed:02d}-{number}.png", seed, side, modified=100.0 * seed + number)
    asked: list[Asked] = []
    foreseen: set[Asked] = set()
    prove, look_ahead = Prover.prove, Prover.look_ahead

    def noting(prover: Prover, *one: object) -> object:
        asked.append(one)  # type: ignore[arg-type]
        return prove(prover, *one)  # type: ignore[arg-type]

    def seeing(prover: Prover, some: list[Asked]) -> None:
        foreseen.update(some)
        look_ahead(prover, some)

    monkeypatch.setattr(Prover, "prove", noting)
    monkeypatch.setattr(Prover, "look_ahead", seeing)

    def result(threads: int) -> ScanResult:
        asked.clear()
        foreseen.clear()
        found = scan_folder(tmp_path, settings=Settings(threads=threads))
        return msgspec.structs.replace(found, seconds=0.0, created=0.0)

    alone = result(1)
    assert asked
    assert not foreseen
    assert result(3) == alone
    assert set(asked) <= foreseen
