"""Fix which pictures are trained on and which are tested on, once and for all.

`train.sha1` and `test.sha1` hold one sha1 (of the file's bytes) a line; `alike.csv` names pairs that stay on one side:
`similar` for known look-alikes (never used as negatives either), `person` for faces of one person. Three sources are
tested whole, so that the test sees kinds of pictures that training never saw; of every other source a fifth of the
items is tested. Signatures are in neither: their licence is unknown.

    python benchmarks/split/make.py DATA      # DATA holds manifest.csv and known_similar.csv

The side of an item depends only on a hash of its group, so the lists come out the same on every machine.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from pathlib import Path

from neardup.pipeline.learn.shared.pictures import find_roots

TESTED_WHOLE = {"imagenet_samples", "clothing", "appimage_icons"}
UNUSED = {"signatures"}
TEST_SHARE = 0.2


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file with a header."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find_pairs(items: list[dict[str, str]], similar: list[dict[str, str]]) -> list[tuple[str, str, str]]:
    """Return (sha1, sha1, relation) of the items that belong together, sorted."""
    by_path = {item["path"]: item["sha1"] for item in items}
    pairs = {
        (*sorted((by_path[row["path_a"]], by_path[row["path_b"]])), "similar")
        for row in similar
        if row["path_a"] in by_path and row["path_b"] in by_path
    }
    first_of_person: dict[str, str] = {}
    for item in sorted(items, key=lambda item: item["sha1"]):
        if item["source"] == "orl_faces":
            first = first_of_person.setdefault(item["label"], item["sha1"])
            if first != item["sha1"]:
                pairs.add((first, item["sha1"], "person"))
    return sorted((a, b, relation) for a, b, relation in pairs)


def is_drawn(root: str) -> bool:
    """Return whether the hash of a group's root falls into the tested share."""
    return int(hashlib.sha256(root.encode()).hexdigest()[:8], 16) / 2**32 < TEST_SHARE


def main(data: Path, output: Path) -> None:
    """Write train.sha1, test.sha1 and alike.csv for the pictures under `data` into `output`."""
    items = [item for item in read(data / "manifest.csv") if item["source"] not in UNUSED]
    pairs = find_pairs(items, read(data / "known_similar.csv"))
    roots = find_roots((item["sha1"] for item in items), ((a, b) for a, b, _ in pairs))
    tested_roots = {roots[item["sha1"]] for item in items if item["source"] in TESTED_WHOLE}
    tested = {sha1 for sha1, root in roots.items() if root in tested_roots or is_drawn(root)}
    for name, chosen in (("train", set(roots) - tested), ("test", tested)):
        (output / f"{name}.sha1").write_text("".join(f"{sha1}\n" for sha1 in sorted(chosen)), encoding="ascii")
    with (output / "alike.csv").open("w", newline="", encoding="ascii") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("sha1_a", "sha1_b", "relation"), *pairs])
    for source in sorted({item["source"] for item in items}):
        sides = [item["sha1"] in tested for item in items if item["source"] == source]
        print(f"{source:24} train {len(sides) - sum(sides):5} test {sum(sides):5}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent)
