from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neardup.pipeline.cleanup.plan import Action, Include, Keep, Plan, Why
from neardup.pipeline.cleanup.quality import Quality
from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.report.result import File, Match
from neardup.pipeline.types import Attachment, Decision, Exact, Span
from neardup.pipeline.where import Relation
from tests.pipeline.cleanup.build import WHEN, a_plan, for_duplicates, goes, holding, on_disk
from tests.pipeline.report.build import a_copy, a_file, a_group, a_match, a_part, a_proof

PICTURE = np.zeros((96, 96), np.float32)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def seen(**facts: dict[str, Any]) -> Any:
    """Return a look that knows files by their stems; the rest is of full quality."""

    def look(file: File, _closely: bool) -> Quality:
        facts_of = {"small": (PICTURE,), "pixels": file.width * file.height, **facts.get(Path(file.path).stem, {})}
        return Quality(**facts_of)

    return look


def why(plan: Plan, file: File) -> Why | None:
    return plan.notes[file.id].why


# --- What is exact


def test_only_identical_files_are_listed_without_being_asked_for_more() -> None:
    a, twin, copy = on_disk("a.jpg"), on_disk("twin.jpg"), on_disk("copy.jpg", b"y")
    plan = a_plan(a_group(a, a_match(twin, exact=Exact.BYTES), a_match(copy)))
    assert goes(plan) == {"twin.jpg"}
    assert why(plan, copy) is Why.DIFFERS
    assert plan.notes[twin.id].goes


def test_twins_of_a_copy_are_found_though_the_original_differs() -> None:
    a, b, c = on_disk("a.jpg", b"a"), on_disk("b.jpg", b"bb"), on_disk("c.jpg", b"bb", WHEN + 9)
    assert goes(a_plan(a_group(a, a_match(b), a_match(c)))) == {"c.jpg"}


def test_identical_content_is_listed_and_the_richer_metadata_stays() -> None:
    a, b = on_disk("a.png", b"a"), on_disk("b.tif", b"bb")
    group = a_group(a, a_match(b, exact=Exact.PIXELS))
    plan = a_plan(group, look=seen(b={"metadata": 9}))
    assert goes(plan) == {"a.png"}
    assert why(plan, b) is Why.METADATA
    assert [one.what.value for one in plan.moves[0].differences] == ["metadata", "bytes"]


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"attachments": (Attachment.FILM,)}, {}),
        ({"attachments": (Attachment.ALPHA,)}, {"attachments": (Attachment.GAIN_MAP,)}),
        ({"attachments": (Attachment.SOUND,)}, {}),
        ({"pages": 2}, {}),
        ({"bits": 16}, {}),
        ({}, {"grey": True}),
    ],
)
@pytest.mark.parametrize("keep", list(Keep))
def test_what_holds_more_is_never_listed(keep: Keep, more: dict[str, Any], less: dict[str, Any]) -> None:
    rich, poor = on_disk("rich.jpg", b"r", WHEN + 50, **holding(**more)), on_disk("poor.jpg", b"pp", **holding(**less))
    for exact in (Exact.NO, Exact.PIXELS):
        group = a_group(poor, a_match(rich, exact=exact))
        assert "rich.jpg" not in goes(a_plan(group, **for_duplicates(seen(), keep)))
        assert "rich.jpg" not in goes(a_plan(group, keep=keep))


@pytest.mark.parametrize("exact", list(Exact))
def test_raw_and_what_is_cut_off_is_never_listed_nor_anything_for_it(exact: Exact) -> None:
    content = [b"x", b"x"] if exact is Exact.BYTES else [b"x", b"yy"]
    for extras, reason in (({"raw": True}, Why.RAW), ({"complete": False}, Why.INCOMPLETE)):
        a, b = (on_disk(f"{n}.jpg", content[n], **holding(**extras)) for n in (0, 1))
        for first, second in ((a, b), (b, a), (a, on_disk("plain.jpg", b"zzz"))):
            plan = a_plan(a_group(first, a_match(second, exact=exact)), **for_duplicates(seen()))
            assert goes(plan) == set()
            assert reason in (why(plan, first), why(plan, second))


def test_unsure_and_partial_matches_variants_and_other_kinds_stay() -> None:
    a = on_disk("a.jpg")
    unsure, part, film, variant = (on_disk(f"{n}.jpg") for n in ("unsure", "part", "film", "variant"))
    group = a_group(
        a,
        a_match(variant, Decision.DISTINCT, relation=Relation.VARIANT),
        a_match(unsure, Decision.UNSURE),
        a_part(part, Span(0, 1, 2, 3)),
        a_part(film, Span(0, 0, 1, 1), exact=Exact.BYTES),
    )
    plan = a_plan(group, **for_duplicates(seen()))
    assert goes(plan) == set()
    assert [why(plan, one) for one in (unsure, part, film, variant)] == [Why.UNSURE, Why.PART, Why.PART, Why.VARIANT]


# --- What is one file


def test_links_and_other_names_of_one_file_are_not_listed(folder: Path) -> None:
    a = on_disk("a.jpg")
    os.link("a.jpg", "hard.jpg")
    Path("soft.jpg").symlink_to("a.jpg")
    Path("folder").symlink_to(folder, target_is_directory=True)
    names = ["hard.jpg", "soft.jpg", "folder/a.jpg", "./a.jpg"]
    others = [a_file(name, bytes=1, modified=float(WHEN), sha256=a.sha256) for name in names]
    plan = a_plan(a_group(a, *(a_match(one, exact=Exact.BYTES) for one in others)))
    assert goes(plan) == set()
    assert [why(plan, one) for one in others] == [Why.SAME_FILE, Why.LINK, Why.SAME_FILE, Why.SAME_FILE]


def test_a_file_that_changed_since_the_scan_is_neither_listed_nor_kept_for_another() -> None:
    a, b, c = on_disk("a.jpg"), on_disk("b.jpg"), on_disk("c.jpg")
    Path("a.jpg").write_bytes(b"changed")
    Path("c.jpg").unlink()
    plan = a_plan(a_group(a, a_match(b, exact=Exact.BYTES), a_match(c, exact=Exact.BYTES)))
    assert goes(plan) == set()
    assert why(plan, a) is why(plan, c) is Why.CHANGED


def test_a_file_is_listed_once_and_none_that_stays_for_another() -> None:
    a, b = on_disk("a.jpg"), on_disk("b.jpg")
    both = a_group(a, a_match(b, exact=Exact.BYTES)), a_group(b, a_match(a, exact=Exact.BYTES))
    plan = a_plan(*both, both[0])
    assert goes(plan) == {"b.jpg"}
    assert len(plan.moves) == 1


# --- What belongs together


def bundle(folder: str, modified: int = WHEN, film: bytes = b"film", sidecar: str = "IMG_1.AAE") -> tuple[File, File]:
    still = on_disk(f"{folder}/IMG_1.HEIC", b"still", modified, format="heic")
    on_disk(f"{folder}/{sidecar}", b"edits", modified)
    return still, on_disk(f"{folder}/IMG_1.MOV", film, modified)


def test_a_still_with_a_film_stays_whatever_bare_copy_there_is() -> None:
    still, film = bundle("phone", WHEN + 50)
    bare, clip = on_disk("export/IMG_1.HEIC", b"still"), on_disk("export/clip.mov", b"film")
    groups = a_group(bare, a_match(still, exact=Exact.BYTES)), a_group(clip, a_match(film, exact=Exact.BYTES))
    plan = a_plan(*groups)
    assert goes(plan) == {"export/IMG_1.HEIC", "export/clip.mov"}
    assert why(plan, still) is Why.COMPANIONS
    assert goes(a_plan(*groups, keep=Keep.OLDEST)) == set()


def test_a_bundle_goes_as_one_where_all_of_it_is_elsewhere() -> None:
    (a, film_a), (b, film_b) = bundle("a"), bundle("b", WHEN + 5)
    groups = a_group(a, a_match(b, exact=Exact.BYTES)), a_group(film_b, a_match(film_a, exact=Exact.BYTES))
    plan = a_plan(*groups)
    assert [len(step) for step in plan.steps] == [3]
    assert goes(plan) == {"b/IMG_1.HEIC", "b/IMG_1.MOV", "b/IMG_1.AAE"}


@pytest.mark.parametrize("change", [{"film": b"other film"}, {"sidecar": "IMG_1.xmp"}])
def test_a_bundle_stays_where_a_part_of_it_is_not_elsewhere(change: dict[str, Any]) -> None:
    (a, _), (b, _) = bundle("a"), bundle("b", WHEN + 5, **change)
    plan = a_plan(a_group(a, a_match(b, exact=Exact.BYTES)))
    assert goes(plan) == set()
    assert why(plan, b) is Why.KEPT_TOGETHER


def test_a_jpeg_is_never_parted_from_its_raw() -> None:
    for folder in ("card", "disk"):
        on_disk(f"{folder}/DSC_1.NEF", b"raw")
    a, b = (on_disk(f"{folder}/DSC_1.JPG", b"jpeg") for folder in ("card", "disk"))
    assert goes(a_plan(a_group(a, a_match(b, exact=Exact.BYTES)))) == set()


def test_of_two_pictures_with_one_sidecar_one_may_go() -> None:
    a, b = on_disk("a.png", b"a"), on_disk("a.jpg", b"bb", format="jpeg")
    on_disk("a.xmp", b"sidecar of both")
    assert goes(a_plan(a_group(a, a_copy(b)), **for_duplicates(seen()))) == {"a.jpg"}
    on_disk("a.jpg.xmp", b"of this one")
    assert goes(a_plan(a_group(a, a_copy(b)), **for_duplicates(seen(b={}), keep=Keep.OLDEST))) == set()


def test_an_edited_picture_is_no_copy_of_its_original() -> None:
    a, b = on_disk("IMG_0001.JPG", b"a"), on_disk("IMG_E0001.JPG", b"bb")
    plan = a_plan(a_group(a, a_copy(b)), **for_duplicates(seen()))
    assert (goes(plan), why(plan, b)) == (set(), Why.KEPT_TOGETHER)


# --- Duplicates, where they are asked for


@pytest.mark.parametrize(
    ("better", "worse", "reason"),
    [
        ({}, {"width": 200, "height": 150}, Why.RESOLUTION),
        ({}, {"width": 800, "height": 600, "share": 0.5}, Why.NOT_UPSCALED),
        ({}, {"share": 0.5}, Why.RESOLUTION),
        ({"compression": 90}, {"compression": 60}, Why.QUALITY),
        ({"metadata": 5}, {}, Why.METADATA),
        ({"width": 420, "height": 315}, {}, Why.PIXELS),
    ],
)
def test_the_best_one_stays_whatever_its_clock_says(better: dict[str, Any], worse: dict[str, Any], reason: Why) -> None:
    def split(facts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        sizes = {key: value for key, value in facts.items() if key in ("width", "height")}
        return sizes, {key: value for key, value in facts.items() if key not in sizes}

    (size_a, quality_a), (size_b, quality_b) = split(better), split(worse)
    good = on_disk("good.jpg", b"good", WHEN + 100, **size_a)
    bad = on_disk("bad.jpg", b"bad and larger", WHEN, **size_b)
    for group in (a_group(bad, a_copy(good)), a_group(good, a_copy(bad))):
        plan = a_plan(group, **for_duplicates(seen(good=quality_a, bad=quality_b)))
        assert goes(plan) == {"bad.jpg"}
        assert why(plan, good) is reason
        assert plan.moves[0].differences


def test_a_grey_copy_differs_in_colour_and_not_in_content() -> None:
    colour, grey = on_disk("a.jpg", b"a"), on_disk("b.jpg", b"b", **holding(grey=True))
    [move] = a_plan(a_group(colour, a_copy(grey)), **for_duplicates(seen())).moves
    assert [(one.what.value, one.gone, one.kept) for one in move.differences] == [("colour", "grey", "colour")]


def test_of_equals_the_older_stays() -> None:
    new, old = on_disk("new.jpg", b"n", WHEN + 9), on_disk("old.jpg", b"oo")
    plan = a_plan(a_group(new, a_copy(old)), **for_duplicates(seen()))
    assert (goes(plan), why(plan, old)) == ({"new.jpg"}, Why.OLDER)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"width": 300}, Why.SHAPE),
        ({"width": 300, "height": 400}, Why.SHAPE),
        ({"seconds": 30.0}, Why.LENGTH),
        (holding(bits=16), Why.DEEP),
    ],
)
def test_crops_and_cuts_and_deep_data_stay(change: dict[str, Any], reason: Why) -> None:
    both = holding(bits=16) if reason is Why.DEEP else {}
    a, b = on_disk("a.jpg", b"a", **both), on_disk("b.jpg", b"bb", **change)
    plan = a_plan(a_group(a, a_copy(b)), **for_duplicates(seen()))
    assert goes(plan) == set()
    assert reason in (why(plan, a), why(plan, b))


def test_what_looks_different_in_places_stays_and_so_does_what_nobody_could_look_at() -> None:
    a, b = on_disk("a.jpg", b"a"), on_disk("b.jpg", b"bb")
    caption = PICTURE.copy()
    caption[80:84, 20:60] = 255
    for small, reason in (((caption,), Why.LOOKS_DIFFERENT), ((), Why.UNPROVEN)):
        plan = a_plan(a_group(a, a_copy(b)), **for_duplicates(seen(b={"small": small})))
        assert goes(plan) == set()
        assert reason in (why(plan, a), why(plan, b))


# Proofs: of a copy, the query, and the original, the reference


def test_without_the_proof_of_a_copy_a_file_stays() -> None:
    a = on_disk("a.jpg", b"a")
    cases = {
        "none": lambda file: a_match(file),
        "unproved": lambda file: a_copy(file, finding=Finding.UNPROVED, ground=Ground.LITTLE_AGREES),
        "variant": lambda file: a_copy(file, finding=Finding.VARIANT, ground=Ground.MOTION),
        "nowhere": lambda file: a_match(file, proof=a_proof()),
    }
    for keep in Keep:
        for name, make in cases.items():
            b = on_disk(f"{name}.jpg", b"bb", width=200, height=150)
            plan = a_plan(a_group(a, make(b)), **for_duplicates(seen(), keep))
            assert goes(plan) == set(), name
            assert Why.NO_PROOF in (why(plan, a), why(plan, b))
    small = on_disk("small.jpg", b"bb", width=200, height=150)
    assert goes(a_plan(a_group(a, a_copy(small)), **for_duplicates(seen()))) == {"small.jpg"}


@pytest.mark.parametrize(("large", "small"), [("copy", "original"), ("original", "copy")])
@pytest.mark.parametrize("more", ["copy", "original"])
def test_what_shows_something_that_the_kept_file_lacks_stays(large: str, small: str, more: str) -> None:
    """The larger one is preferred; the other may go only if it is not the one that shows more."""
    sizes: dict[str, dict[str, Any]] = {large: {}, small: {"width": 200, "height": 150}}
    original, copy = (on_disk(f"{name}.jpg", name.encode(), **sizes[name]) for name in ("original", "copy"))
    inside, outside = (0.98, 0.0, 0.01, 0.0, 0.98, 0.01), (1 / 0.98, 0.0, -0.01, 0.0, 1 / 0.98, -0.01)
    extra = {"query_extra": 0.013} if more == "copy" else {"reference_extra": 0.013}
    cases = [a_copy(copy, **extra), a_copy(copy, outside if more == "copy" else inside)]
    for match in cases:
        plan = a_plan(a_group(original, match), **for_duplicates(seen()))
        assert goes(plan) == (set() if more == small else {f"{small}.jpg"})
        if more == small:
            assert why(plan, original if small == "original" else copy) is Why.SHOWS_MORE


def test_of_two_copies_one_stands_for_the_other_only_by_way_of_their_original() -> None:
    """The one has a caption, the other a blot over something; the original shows all of neither, nor they of it."""

    def stays(*matches: Match, keep: Keep = Keep.LARGEST) -> set[str]:
        names = {original.path, *(match.file.path for match in matches)}
        return names - goes(a_plan(a_group(original, *matches), **for_duplicates(seen(), keep)))

    original = on_disk("original.jpg", b"1", width=100, height=75)
    best = on_disk("best.jpg", b"22", width=800, height=600)
    small = on_disk("small.jpg", b"333", width=200, height=150)
    assert stays(a_copy(best), a_copy(small)) == {"best.jpg"}
    assert stays(a_copy(best, query_extra=0.1), a_copy(small)) == {"best.jpg"}  # it has a caption beside all the rest
    assert stays(a_copy(best), a_copy(small, query_extra=0.1)) == {"best.jpg", "small.jpg"}
    assert stays(a_copy(best, reference_extra=0.1), a_copy(small)) == {"best.jpg", "small.jpg"}
    assert stays(a_copy(best, reference_extra=0.1), a_copy(small, reference_extra=0.1)) == {
        *("best.jpg", "small.jpg", "original.jpg")  # each may lack something else
    }
    assert stays(a_copy(best), a_match(small)) == {"best.jpg", "small.jpg"}


def test_the_pixels_of_the_original_need_no_proof() -> None:
    original, copy = on_disk("original.png", b"1"), on_disk("copy.jpg", b"22", width=200, height=150)
    same = on_disk("same.tif", b"333", WHEN - 9)
    group = a_group(original, a_match(same, exact=Exact.PIXELS), a_copy(copy))
    assert goes(a_plan(group, **for_duplicates(seen()))) == {"original.png", "copy.jpg"}


@pytest.mark.parametrize("transform", [(0.0,) * 9, (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, -2.0, 0.0, 1.0)])
def test_a_transform_that_puts_a_picture_nowhere_proves_nothing(transform: tuple[float, ...]) -> None:
    original, copy = on_disk("original.jpg", b"1"), on_disk("copy.jpg", b"22", width=200, height=150)
    plan = a_plan(a_group(original, a_copy(copy, transform)), **for_duplicates(seen()))
    assert goes(plan) == set()


@pytest.mark.parametrize("action", [Action.HARDLINK, Action.REFLINK])
def test_a_link_takes_the_place_of_identical_bytes_only(action: Action) -> None:
    a, b, c = on_disk("a.png", b"a"), on_disk("b.tif", b"bb"), on_disk("c.png", b"a")
    plan = a_plan(a_group(a, a_match(b, exact=Exact.PIXELS), a_match(c, exact=Exact.BYTES)), action=action)
    assert goes(plan) == {"c.png"}
    assert why(plan, b) is Why.BYTES_NEEDED


@pytest.mark.parametrize(
    ("keep", "kept"),
    [(Keep.LARGEST, "large"), (Keep.OLDEST, "old"), (Keep.NEWEST, "the new one"), (Keep.SHORTEST, "s")],
)
def test_the_kept_file_follows_the_rule(keep: Keep, kept: str) -> None:
    files = [
        on_disk("old", b"1", WHEN - 9),
        on_disk("large", b"22", width=800, height=600),
        on_disk("the new one", b"333", WHEN + 9),
        on_disk("s", b"4444"),
    ]
    plan = a_plan(a_group(files[0], *map(a_copy, files[1:])), **for_duplicates(seen(), keep))
    assert goes(plan) == {file.path for file in files} - {kept}


def test_a_larger_screenshot_does_not_replace_the_picture() -> None:
    a, screenshot = on_disk("picture.jpg", b"a"), on_disk("screenshot.png", b"bb", width=900, height=800)
    for keep in (Keep.LARGEST, Keep.BEST):
        assert goes(a_plan(a_group(a, a_copy(screenshot)), **for_duplicates(seen(), keep))) == set()


def test_duplicates_are_off_unless_asked_for() -> None:
    assert a_plan().options.include is Include.EXACT
    assert a_plan().options.keep is Keep.BEST
