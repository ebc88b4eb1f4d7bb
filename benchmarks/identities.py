"""Faces and signatures as folders of people, a part for training and a part of people that training never sees.

    DATA/manifest.csv -> FOLDER/faces/train/s2/1.jpg, FOLDER/signatures/test/004/forged/2.jpg, …

Faces (ORL) follow the split that is fixed in `split`. Signatures are in no list: of their writers a third, chosen by a
hash of the name, are for testing.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from pathlib import Path

SPLIT = Path(__file__).parent / "split"
SOURCES = {"faces": "orl_faces", "signatures": "signatures"}
PARTS = ("train", "test")


def lay_out(data: Path, folder: Path) -> None:
    """Link the pictures into the folders shown above."""
    testing = set((SPLIT / "test.sha1").read_text(encoding="ascii").split())
    with (data / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["source"] in SOURCES.values()]
    writers = sorted(
        {_person(row["label"])[0] for row in rows if row["source"] == "signatures"},
        key=lambda name: hashlib.sha256(f"verification {name}".encode()).digest(),
    )
    tested = set(writers[: len(writers) // 3])
    count: Counter[Path] = Counter()
    for row in sorted(rows, key=lambda row: row["path"]):
        name = next(name for name, source in SOURCES.items() if source == row["source"])
        person, forged = _person(row["label"])
        part = PARTS[person in tested if name == "signatures" else row["sha1"] in testing]
        place = folder / name / part / person / ("forged" if forged else "")
        place.mkdir(parents=True, exist_ok=True)
        link = place / f"{count[place]}.jpg"
        count[place] += 1
        if not link.exists():
            link.symlink_to((data / row["path"]).resolve())


def _person(label: str) -> tuple[str, bool]:
    """Return who a picture is of, or whose signature it imitates, and whether it does."""
    found = re.fullmatch(r"(\w+?)(?:_(genuine|forged))?", label)
    assert found is not None
    return found[1], found[2] == "forged"
