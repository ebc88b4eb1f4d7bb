from __future__ import annotations

from pathlib import Path

import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.log.records import Described
from neardup.workers.space.missing import Missing


def test_what_was_missing_is_known_again(tmp_path: Path) -> None:
    path = tmp_path / "missing.csv"
    missing = Missing(path, 0)
    for offset, id in enumerate(("a", 'b,"\udcff\n', "\r", "c")):
        missing.add(Described(id=id), offset, "no original")
    missing.save()
    assert list(Missing(path, 3).keys) == [("seen", "a"), ("seen", 'b,"\udcff\n'), ("seen", "\r")]


@pytest.mark.parametrize("text", ["bank,id\n", "when,what,how,why\n1,2,3,4\n", "bank,id,offset,why\nseen,a,x,gone\n"])
def test_another_file_is_not_written_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match="written over"):
        Missing(path, 0)
    assert path.read_text() == text
