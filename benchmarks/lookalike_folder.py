"""What a scan makes of a folder of look-alikes: what it calls a copy that is none, and what its plan would let go.

    python -m benchmarks.lookalike_folder [--variants 64] [--films DATA] [--model default]

The folder holds the look-alikes of `neardup evaluate --variants` and the true copies beside them: three files of each
pair, of all kinds together. It is scanned as a user would, with the plan that asks for copies which differ, too
(`--plan-include duplicate`). Each match that the report lists, and each file of the plan beside the one that stays for
it, is right where both show one picture. Columns:

- *files*; *called duplicate*, *called unsure*: matches of two pictures that are no copies of each other;
- *in the plan*: files that would go although another picture would stay for them;
- *copies*: true ones; of them *found duplicate*, *found unsure*, and *planned*: one of the two would go for the other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from neardup.pipeline.learn.evaluate.variants import Sample, make_samples
from neardup.pipeline.learn.shared.intervals import wilson
from neardup.pipeline.learn.variants import HELD_OUT

SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff\xe0": ".jpg"}
HEAD = ("files", "called duplicate", "called unsure", "in the plan")
COPIES = ("copies", "found duplicate", "found unsure", "planned")


@dataclass(slots=True)
class Count:
    """What was found of the files of one kind; see the columns above."""

    files: int = 0
    duplicate: int = 0
    unsure: int = 0
    planned: int = 0
    copies: int = 0
    found: int = 0
    doubtful: int = 0
    gone: int = 0


def save(samples: Iterable[Sample], folder: Path) -> None:
    """Write the files of samples into folders by kind."""
    for sample in samples:
        home = folder / sample.variant.kind
        home.mkdir(parents=True, exist_ok=True)
        for name, data in sample.files.items():
            (home / f"{name}{SUFFIXES[data[:4]]}").write_bytes(data)


def picture_of(path: str) -> tuple[str, str, str]:
    """Return which picture a file shows: kind, number, and the side of the pair; a copy shows side `a`."""
    number, _, side = Path(path).stem.partition("-")
    return Path(path).parent.name, number, "a" if side == "copy" else side


def count(folder: Path, report: dict[str, Any], plan: dict[str, Any]) -> dict[str, Count]:
    """Return the counts of each kind.

    Args:
        folder: what `save` wrote. report, plan: the scan's `duplicates.json` and `plan.json`.
    """
    counts: defaultdict[str, Count] = defaultdict(Count)
    for file in sorted(folder.glob("*/*")):
        counts[file.parent.name].files += 1
        counts[file.parent.name].copies += file.stem.endswith("-copy")
    for group in report["groups"]:
        # A copy is found where it is in a group with its picture, be that the group's original or another match of it.
        decided = {match["file"]["path"]: match["decision"] for match in group["matches"]}
        original = group["original"]["path"]
        for path, decision in decided.items():
            kind = counts[picture_of(path)[0]]
            if picture_of(path) != picture_of(original):
                kind.duplicate += decision == "duplicate"
                kind.unsure += decision == "unsure"
            else:
                kind.found += decision == "duplicate"
                kind.doubtful += decision == "unsure"
    for move in plan["moves"]:
        gone, kept = picture_of(move["path"]), picture_of(move["kept"]["path"])
        counts[gone[0]].planned += gone != kept
        counts[gone[0]].gone += gone == kept
    return dict(counts)


def total(several: Iterable[Count]) -> Count:
    """Return the sum of counts."""
    return Count(*map(sum, zip(*map(astuple, several), strict=True)))


def table(counts: dict[str, Count]) -> Iterator[str]:
    """Yield the lines of a table: held-out kinds, other kinds, then each kind."""
    yield f"| | {' | '.join(HEAD + COPIES)} |"
    yield f"| --- |{' ---: |' * len(HEAD + COPIES)}"
    held_out = {name: one for name, one in counts.items() if name in HELD_OUT}
    others = {name: one for name, one in counts.items() if name not in HELD_OUT}
    rows = [("held-out kinds", total(held_out.values())), ("other kinds", total(others.values()))]
    rows += [(f"{name.replace('_', ' ')} (held out)", one) for name, one in sorted(held_out.items())]
    rows += [(name.replace("_", " "), one) for name, one in sorted(others.items())]
    for name, one in rows:
        yield f"| {name} | {' | '.join(f'{number:,}' for number in astuple(one))} |"
    all_of = total(counts.values())
    yield ""
    low, high = (100 * bound for bound in wilson(all_of.planned, all_of.copies))
    duplicate, unsure = (1000 * one / all_of.files for one in (all_of.duplicate, all_of.unsure))
    yield (f"{all_of.planned} of {all_of.copies:,} look-alikes in the plan (95 %: {low:.1f} to {high:.1f} %); "
           f"of 1,000 files {unsure:.0f} are unsure and {duplicate:.0f} duplicates of another picture.")  # fmt: skip


def main() -> None:
    """Draw the folder, scan it and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variants", type=int, default=64, help="pairs of each kind")
    parser.add_argument("--films", type=Path, help="folder of films, whose next shots are look-alikes, too")
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="neardup-lookalikes-") as name:
        folder, output = Path(name) / "media", Path(name) / "report"
        for samples in make_samples(options.variants, options.films, len(os.sched_getaffinity(0))):
            save(samples, folder)
        scan = ("scan", str(folder), "--output", str(output), "--model", options.model)
        plan = ("--plan", "--plan-include", "duplicate")
        command = (sys.executable, "-m", "neardup.workers.cli.main", *scan, *plan)
        subprocess.run(command, check=True, stdout=sys.stderr)
        report = json.loads((output / "duplicates.json").read_bytes())
        for line in table(count(folder, report, json.loads((output / "plan.json").read_bytes()))):
            print(line)


if __name__ == "__main__":
    main()
