from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from benchmarks.sound_set import Carrier, carried, tone
from neardup.pipeline.cleanup.choose import make_plan
from neardup.pipeline.cleanup.plan import Include, Options
from neardup.pipeline.cleanup.quality import Looker
from neardup.pipeline.report.tables import to_json
from neardup.pipeline.types import Decision, Doubt, Limits
from tests.pipeline.scan.build import scan_folder

AAC, AC3 = Carrier("mp4", "aac", 96_000, 44_100), Carrier("mkv", "ac3", 96_000, gain_db=-6.0, delay=0.1)


def test_one_picture_under_other_songs_is_unsure_and_in_no_plan(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    song, other = tone(12.0, 220.0), tone(12.0, 660.0)
    contents = {
        "1 song.mp4": carried(song, AAC),
        "2 again.mkv": carried(song, AC3),
        "3 other.mp4": carried(other, AAC),
        "4 muted.mp4": carried(None, AAC, 12.0),
        "5 no voice.mp4": carried(np.zeros(12 * 48_000), AAC),
    }
    for name, content in contents.items():
        (media / name).write_bytes(content)
    result = scan_folder(media)
    assert not result.skipped
    found = {
        Path(match.file.path).name: (match.decision, match.doubt, match.where.whole)
        for group in result.groups
        for match in group.matches
        if Path(group.original.path).name == "1 song.mp4"
    }
    assert found == {
        "2 again.mkv": (Decision.DUPLICATE, Doubt.NO, True),
        "3 other.mp4": (Decision.UNSURE, Doubt.OTHER_SOUND, True),
        "4 muted.mp4": (Decision.UNSURE, Doubt.NO_SOUND, True),
    }
    assert b'"doubt":"other-sound"' in to_json(result)
    plan = make_plan(result, Options(include=Include.DUPLICATE), Looker(Limits()))
    gone = {Path(os.fsdecode(move.gone.path)).name for move in plan.moves}
    assert "3 other.mp4" not in gone
    assert gone & {"1 song.mp4", "2 again.mkv"}  # one of the song's two readings may go
