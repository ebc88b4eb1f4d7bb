from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from neardup.pipeline.prove.finding import Finding, Ground
from neardup.pipeline.report import html
from neardup.pipeline.report.html import write_html
from neardup.pipeline.report.result import File, ScanResult, Skipped
from neardup.pipeline.types import Decision, Exact, Span
from tests.pipeline.report.build import a_file, a_group, a_match, a_part, a_result, a_video

HOSTILE = [
    "</script><script>document.title='hacked'</script>.jpg",
    "<!--<script>.jpg",
    "\"onerror='x'&amp;.jpg",
    "new\nline.jpg",
    os.fsdecode(b"caf\xe9.jpg"),
    "\u2028\u202e.jpg",
    "{{ 7 * 7 }}.jpg",
]


class Page(HTMLParser):
    """The tags, attributes and text of a page, as a browser splits it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.blocks: list[tuple[str, str]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is not None:  # inside a script or style
            tag, attributes = self.tags[-1]
            self.blocks.append((str(attributes.get("type", tag)), data))
        else:
            self.words += data

    @property
    def data(self) -> dict[str, Any]:
        [text] = [text for kind, text in self.blocks if kind == "application/json"]
        loaded: dict[str, Any] = json.loads(text)
        return loaded


def nothing(_file: File, _seconds: float) -> bytes:
    return b""


def page(result: ScanResult, tmp_path: Path, thumbnails: Any = nothing, **options: Any) -> Page:
    write_html(result, thumbnails, tmp_path / "report.html", **options)
    text = (tmp_path / "report.html").read_bytes().decode("utf-8", "strict")
    return Page(text)


def test_hostile_names_are_only_data(tmp_path: Path) -> None:
    plain = page(a_result(a_group(a_file("a"), *(a_match(a_file("b")) for _ in HOSTILE))), tmp_path)
    skipped = tuple(Skipped(path=name, reason="decode", detail=name) for name in HOSTILE)
    hostile = page(
        a_result(a_group(a_file("a"), *(a_match(a_file(n)) for n in HOSTILE)), skipped=skipped, roots=tuple(HOSTILE)),
        tmp_path,
    )
    assert [tag for tag, _ in hostile.tags].count("script") == [tag for tag, _ in plain.tags].count("script") == 2
    assert not [names for _, names in hostile.tags if any(name.startswith("on") for name in names)]
    paths = [file["path"] for file in hostile.data["files"]]
    assert HOSTILE[0] in paths
    assert "new\\nline.jpg" in paths
    assert "caf\\xe9.jpg" in paths
    assert HOSTILE[0] in hostile.words
    assert "49.jpg" not in hostile.words


def test_a_page_of_the_largest_groups_says_how_many_more_there_are(tmp_path: Path) -> None:
    result = a_result(*(a_group(a_file(f"{n}"), a_match(a_file(f"{n}b"))) for n in range(5)))
    cut, whole = page(result, tmp_path, max_groups=3), page(result, tmp_path, max_groups=5)
    assert len(cut.data["groups"]) == 3
    assert "Only the largest groups are shown here; 2 more are in" in cut.words
    assert len(whole.data["groups"]) == 5
    assert "Only the largest" not in whole.words


def test_the_policy_lets_nothing_run_but_the_pages_own_script(tmp_path: Path) -> None:
    shown = page(a_result(a_group(a_file("a"), a_match(a_file("b")))), tmp_path)
    [policy] = [a["content"] for t, a in shown.tags if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        [content] = [text for name, text in shown.blocks if name == kind]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_the_page_asks_nothing_of_the_network(tmp_path: Path) -> None:
    page(a_result(a_group(a_file("a"), a_match(a_file("b")))), tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(link|iframe|img|script)[^>]*(src|href)=", text)
    assert "url(" not in text


def test_each_finding_and_ground_of_a_proof_has_its_words() -> None:
    module = (Path(html.__file__).parent / "static" / "proof.js").read_text()
    for name, values in (("GROUNDS", Ground), ("BRIEFLY", Ground), ("FINDINGS", Finding)):
        [words] = re.findall(rf"^const {name} = {{(.*?)}};$", module, re.MULTILINE | re.DOTALL)
        assert set(re.findall(r'"?([a-z-]+)"?: "', words)) == {one.value for one in values}


def test_each_thumbnail_is_asked_for_once_and_kept_once(tmp_path: Path) -> None:
    asked: list[tuple[str, float]] = []

    def thumbnails(file: File, seconds: float) -> bytes:
        asked.append((file.path, seconds))
        return b"jpeg of " + file.path.encode()

    a, b, c = a_file("a"), a_file("b"), a_file("c")
    data = page(a_result(a_group(a, a_match(b)), a_group(c, a_match(b))), tmp_path, thumbnails).data
    assert sorted(asked) == [("a", 0.0), ("b", 0.0), ("c", 0.0)]
    assert len(data["files"]) == 3
    assert base64.b64decode(data["thumbnails"][data["files"][0]["thumbnail"]]) in (b"jpeg of a", b"jpeg of b")


def test_thumbnails_stop_at_the_budget_and_the_page_says_so(tmp_path: Path) -> None:
    result = a_result(a_group(a_file("a"), *(a_match(a_file("b")) for _ in range(9))))
    shown = page(result, tmp_path, lambda _file, _seconds: bytes(1000), max_thumbnail_bytes=3000)
    assert len(shown.data["thumbnails"]) == 3
    assert [file["thumbnail"] for file in shown.data["files"]].count(-1) == 7
    assert "only the first groups have pictures" in shown.words


def test_frame_pairs_show_the_same_moments_of_both(tmp_path: Path) -> None:
    film, clip = a_video("film.mp4", 60), a_video("clip.mp4", 4)
    data = page(a_result(a_group(film, a_part(clip, Span(0, 4, 10, 14)))), tmp_path).data
    pairs = data["groups"][0]["matches"][0]["pairs"]
    assert [(pair["seconds"], pair["reference_seconds"]) for pair in pairs] == [
        (0.5, 10.5),
        (1.5, 11.5),
        (2.5, 12.5),
        (3.5, 13.5),
    ]


def test_a_stretch_that_runs_backwards_is_shown_from_its_end(tmp_path: Path) -> None:
    film, clip = a_video("film.mp4", 60), a_video("clip.mp4", 4)
    data = page(a_result(a_group(film, a_part(clip, Span(0, 4, 10, 18, backwards=True)))), tmp_path).data
    match = data["groups"][0]["matches"][0]
    assert match["where"]["spans"] == [[0, 4, 10, 18, -2]]
    assert [(pair["seconds"], pair["reference_seconds"]) for pair in match["pairs"]] == [
        (0.5, 17),
        (1.5, 15),
        (2.5, 13),
        (3.5, 11),
    ]


def test_many_spans_are_capped_and_counted(tmp_path: Path) -> None:
    spans = [Span(i, i + 0.5, i, i + 0.5) for i in range(100)]
    data = page(a_result(a_group(a_video("a"), a_part(a_video("b"), *spans))), tmp_path).data
    match = data["groups"][0]["matches"][0]
    assert len(match["where"]["spans"]) == 40
    assert match["more_spans"] == 60
    assert len(match["pairs"]) == 12


def test_a_still_of_a_video_is_shown_with_its_frame(tmp_path: Path) -> None:
    data = page(a_result(a_group(a_video("a"), a_part(a_file("still"), Span(0, 0, 5, 6)))), tmp_path).data
    assert [pair["reference_seconds"] for pair in data["groups"][0]["matches"][0]["pairs"]] == [5.5]


def test_the_head_counts_what_was_found(tmp_path: Path) -> None:
    result = a_result(
        a_group(
            a_file("a"),
            a_match(a_file("b", bytes=2_000_000), exact=Exact.BYTES),
            a_match(a_file("c", bytes=500_000)),
            a_match(a_file("d"), Decision.UNSURE),
        )
    )
    words = " ".join(page(result, tmp_path).words.split())
    assert "3 copies in 1 group " in words
    assert "2 duplicates, 1 of them identical" in words
    assert "1 unsure" in words
    assert "2.5 MB used by duplicates" in words
    assert "12 images and 3 videos" in words


def test_a_file_that_copies_several_counts_once(tmp_path: Path) -> None:
    clip = a_video("clip", bytes=3_000_000)
    result = a_result(
        a_group(a_video("a"), a_part(clip, Span(0, 1, 0, 1))),
        a_group(a_video("b"), a_match(clip)),
        a_group(a_video("c"), a_match(clip, Decision.UNSURE), a_part(a_video("d"), Span(0, 1, 0, 1))),
    )
    words = " ".join(page(result, tmp_path).words.split())
    assert "2 files are copies; 4 matches in 3 groups 2 duplicates 0 unsure 1 only in part" in words
    assert "3.0 MB used by duplicates of whole files" in words


@pytest.mark.parametrize(
    ("images", "videos", "words"),
    [(221, 0, "Compared 221 images below"), (0, 1, "Compared 1 video below"), (0, 0, "Compared no files below")],
)
def test_a_kind_without_files_is_left_out(images: int, videos: int, words: str, tmp_path: Path) -> None:
    shown = page(a_result(images=images, videos=videos), tmp_path)
    assert words in " ".join(shown.words.split())


def test_paths_may_break_at_slashes(tmp_path: Path) -> None:
    skipped = (Skipped(path="a/b&c/d.jpg", reason="empty", detail=""),)
    write_html(a_result(skipped=skipped), nothing, tmp_path / "report.html")
    assert "a/<wbr>b&amp;c/<wbr>d.jpg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_result_without_copies_is_a_friendly_page(tmp_path: Path) -> None:
    assert "No near-duplicates" in page(a_result(), tmp_path).words
    assert "No image or video that can be read" in page(a_result(images=0, videos=0), tmp_path).words


def test_skipped_files_are_capped_in_the_page(tmp_path: Path) -> None:
    skipped = tuple(Skipped(path=f"{i}.jpg", reason="empty", detail="") for i in range(1005))
    shown = page(a_result(skipped=skipped), tmp_path)
    assert "1,005 files could not be used" in shown.words
    assert "5 more are in" in shown.words
