from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from neardup.pipeline.embed.checkpoint import save_checkpoint
from neardup.pipeline.log.records import Comparison
from neardup.pipeline.match.query.verify import KEY, Verifier
from neardup.pipeline.prove.finding import BlockMap, Finding, Ground, ProofSummary
from neardup.pipeline.types import Decision
from neardup.pipeline.where import Relation, located
from neardup.workers.cli import compare
from tests.pipeline.scan.build import a_checkpoint, save, save_clip
from tests.workers.conftest import Command


def test_copy_is_a_duplicate(neardup: Command, tmp_path: Path) -> None:
    told = neardup("compare", save(tmp_path, "a.png", 1), save(tmp_path, "b.png", 1, side=40))
    assert (told.code, told.errors) == (0, "")
    assert told.output.splitlines()[0] == "duplicate"
    assert "probability  1.0000" in told.output


def test_json_has_decision_distance_and_probability(neardup: Command, tmp_path: Path) -> None:
    told = neardup("compare", save(tmp_path, "a.png", 1), save(tmp_path, "b.png", 2), "--json")
    found = json.loads(told.output)
    assert found["decision"] == "distinct"
    assert found["distance"] == pytest.approx(2.0, abs=1.0)
    assert found["probability"] < 0.5


@pytest.mark.parametrize(("seed", "code"), [(1, 0), (2, 4)])
def test_exit_code_tells_the_decision(neardup: Command, tmp_path: Path, seed: int, code: int) -> None:
    a, b = save(tmp_path, "a.png", 1), save(tmp_path, "b.png", seed, side=40)
    assert neardup("compare", a, b, "--exit-code").code == code
    assert neardup("compare", a, b).code == 0


def test_every_decision_has_an_exit_code_of_its_own_in_the_help(neardup: Command) -> None:
    assert sorted(compare.EXIT_CODES.values()) == [0, 3, 4]  # 1 and 2 are failures
    assert "0 duplicate, 3 unsure, 4 distinct" in neardup("compare", "--help").output


def test_file_is_identical_to_itself_and_to_a_link(neardup: Command, tmp_path: Path) -> None:
    a = save(tmp_path, "a.png", 1)
    (tmp_path / "link.png").symlink_to(a)
    for other in (a, tmp_path / "link.png"):
        assert json.loads(neardup("compare", a, other, "--json").output)["exact"] == "bytes"


@pytest.mark.parametrize("image_first", [True, False])
def test_image_is_found_in_a_video(neardup: Command, tmp_path: Path, image_first: bool) -> None:
    files = [save(tmp_path, "still.png", 13), save_clip(tmp_path / "clip.mp4", [11, 12, 13, 14])]
    found = json.loads(neardup("compare", *(files if image_first else files[::-1]), "--json").output)
    assert found["decision"] == "duplicate"
    [span] = found["where"]["spans"]
    side = "reference" if image_first else "query"
    assert 1.5 <= span[f"{side}_start"] <= 2.5 <= span[f"{side}_end"] <= 3.5


def test_a_variant_and_a_part_are_said_in_words(
    neardup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Comparison(
        decision=Decision.DISTINCT, distance=0.1, evidence=0.9, probability=0.1, relation=Relation.VARIANT,
        where=located(False, (None, (0.25, 0.0, 0.75, 1.0))),
        proof=ProofSummary(
            finding=Finding.VARIANT, ground=Ground.OTHER_WRITING, stage=1, inliers=143, agreeing=0.97, query_extra=0.03,
            map=BlockMap(columns=1, blocks="12"),
        ),
    )  # fmt: skip
    monkeypatch.setattr("neardup.pipeline.match.query.compare_two.compare_both_ways", lambda *_: found)
    picture = save(tmp_path, "a.png", 1)
    lines = neardup("compare", picture, picture).output.splitlines()
    assert lines[0] == "distinct"
    assert "variant      the same template or scene, other content" in lines
    assert "in part of B  25%, 0%, 75%, 100%   (left, top, right, bottom)" in lines
    start = lines.index("proof        variant: other writing in the same place")
    assert [line.strip() for line in lines[start + 1 : start + 3]] == [
        "97 % of the common area agrees (143 matching key points)",
        "in 3 % A has something that B lacks",
    ]
    assert "lacks" not in lines[start + 3]


@pytest.mark.parametrize(("blocks", "agrees"), [("0000", False), ("1000", True)])
def test_blocks_that_show_nothing_agree_in_nothing(
    blocks: str, agrees: bool, neardup: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = ProofSummary(
        finding=Finding.COPY, ground=Ground.AGREES, agreeing=float(agrees), map=BlockMap(columns=2, blocks=blocks)
    )
    found = Comparison(decision=Decision.DUPLICATE, distance=0.1, evidence=0.9, probability=0.9, proof=proof)
    monkeypatch.setattr("neardup.pipeline.match.query.compare_two.compare_both_ways", lambda *_: found)
    output = neardup("compare", save(tmp_path, "a.png", 1), save(tmp_path, "b.png", 1)).output
    assert "proof        copy: both show the same" in output
    assert ("100 % of the common area agrees" in output) is agrees


def test_unusable_file_is_one_line(neardup: Command, tmp_path: Path) -> None:
    (tmp_path / "broken\n.png").write_bytes(b"")
    told = neardup("compare", save(tmp_path, "a.png", 1), tmp_path / "broken\n.png")
    assert told.code == 2
    assert told.errors == f"neardup: {tmp_path}/broken\\n.png: empty: no bytes; copy or download it again\n"


def test_model_trained_on_classes_answers_yes_or_no(neardup: Command, model: Path, tmp_path: Path) -> None:
    verifier = Verifier(
        threshold=0.5, false_accept=0.01, false_reject=0.125, equal_error=0.05, slope=4.0, intercept=-2.0, classes=6,
        genuine=90, impostors=500,
    )  # fmt: skip
    save_checkpoint(replace(a_checkpoint(), training={KEY: msgspec.to_builtins(verifier)}, calibration={}), model)
    a, b, c = save(tmp_path, "a.png", 1), save(tmp_path, "b.png", 1, side=40), save(tmp_path, "c.png", 2)
    told = neardup("compare", a, b)
    assert (told.code, told.errors) == (0, "")
    assert told.output.splitlines()[0] == "yes, the same"
    assert "On 6 classes that training never saw, 1.0% of the pairs that are not the same got a yes" in told.output
    assert "(if half of the pairs that you ask about show the same)" in told.output
    assert "of a person, give a picture cut to the face" in told.output
    assert neardup("compare", a, c).output.splitlines()[0] == "no, not the same"
    assert json.loads(neardup("compare", a, b, "--json").output)["same"] is True
    assert [neardup("compare", a, other, "--exit-code").code for other in (b, c)] == [0, 4]
