"""Some hundred files of the corpus, and whether what is wrong is noticed: `python -m tests.corpus` has the rest."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.corpus.__main__ import table
from tests.corpus.anatomy import dissect
from tests.corpus.items import FORMATS, item
from tests.corpus.killers import DEEDS, killer
from tests.corpus.run import Patience, Result, run
from tests.corpus.seeds import seeds

FILES = 26 * len(FORMATS)
NOTICED = {
    "hang": "time: ended after",
    "hang-in-c": "time: ended after",
    "spin": "time: ended after",
    "segfault": "crashed: SIGSEGV",
    "abort": "crashed: SIGABRT",
    "leave": "crashed: 3",
    "eat": "memory: ",
    "raise": "raised: LookupError",
    "leak-file": "file left open: ",
    "leak-thread": "1 threads left",
    "write": "written: ",
    "refuse": "no remedy named: no",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="limits and looks at processes as Linux has them"),
]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the seeds."""
    folder = tmp_path_factory.mktemp("corpus")
    seeds(folder)
    return folder


def test_a_number_is_the_same_file_whenever_it_is_asked_for(work: Path) -> None:
    known = seeds(work)
    some = [item(7, number, known) for number in (3, 40, 200)]
    assert some == [item(7, number, seeds(work)) for number in (3, 40, 200)]
    assert len({item(seed, 3, known).content for seed in range(20)}) > 10


def test_every_seed_has_numbers_to_change(work: Path) -> None:
    for format, files in seeds(work).items():
        for content in files:
            assert dissect(content).numbers, format


def test_damaged_files_are_described_or_refused_within_their_budget(work: Path) -> None:
    results = list(run(["--seed", "0", "--work", os.fspath(work)], list(range(FILES))))
    assert [(r["number"], r["format"], r["way"], r["wrong"]) for r in results if r["wrong"]] == [], table(results)
    assert [result["number"] for result in results] == list(range(FILES))
    outcomes = Counter(result["outcome"] for result in results)
    assert outcomes["described"] > FILES / 5, table(results)
    assert outcomes["refused"] > FILES / 5, table(results)


@pytest.mark.timeout(200)
def test_what_is_wrong_is_noticed_and_what_comes_after_is_decoded(work: Path) -> None:
    deeds = list(DEEDS)
    results: dict[str, Result] = {}
    for result in run(
        ["--killers", "--work", os.fspath(work)], list(range(len(deeds))), patience=Patience(busy=5.0, idle=3.0)
    ):
        results[result["way"]] = result
    assert results.keys() == NOTICED.keys() == DEEDS.keys()
    for deed, noticed in NOTICED.items():
        assert any(wrong.startswith(noticed) for wrong in results[deed]["wrong"]), results[deed]


def test_a_killer_is_a_sound_file_to_what_does_not_know_of_it() -> None:
    from neardup.pipeline.media.reader import open_media

    assert open_media(killer("segfault"), 16).width == 120
    assert killer("hang", 1) != killer("hang", 2)
