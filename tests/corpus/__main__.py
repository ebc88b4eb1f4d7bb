# ruff: noqa: T201 (a command)
"""Decode a corpus of damaged files: `python -m tests.corpus --files 20000 --seed 1 --jobs 1`.

What was done is kept in the folder `--work`; the same command goes on where it was ended. Files about which something
is wrong are written to `wrong` in that folder.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path

from tests.corpus.items import FORMATS, item
from tests.corpus.run import Result, run
from tests.corpus.seeds import seeds


def main() -> int:
    """Return 1 if anything is wrong with any file."""
    parser = argparse.ArgumentParser(description="Decode damaged files of all formats, each within its budget.")
    parser.add_argument("--files", type=int, default=20_000, help="how many (default: 20000)")
    parser.add_argument("--seed", type=int, default=1, help="of the files (default: 1)")
    parser.add_argument("--jobs", type=int, default=1, help="processes at once (default: 1)")
    parser.add_argument("--work", type=Path, help="folder for what is done (default: one by seed in the system's own)")
    parser.add_argument("--only", help="numbers of items, with commas between; nothing is kept of them")
    arguments = parser.parse_args()
    work: Path = arguments.work or Path(tempfile.gettempdir()) / f"neardup-corpus-{arguments.seed}"
    work.mkdir(parents=True, exist_ok=True)
    known = seeds(work)
    child = ["--seed", str(arguments.seed), "--work", str(work)]
    if arguments.only:
        for result in run(child, [int(number) for number in arguments.only.split(",")]):
            print(json.dumps(result, indent=1))
        return 0
    kept = work / f"results-{_version()}.jsonl"
    results = _results(kept)
    left = [number for number in range(arguments.files) if number not in results]
    print(f"{len(left)} of {arguments.files} files to decode, in {work}", flush=True)
    begun = said = time.monotonic()
    with kept.open("a") as file:
        for done, result in enumerate(run(child, left, arguments.jobs), 1):
            print(json.dumps(result), file=file, flush=True)
            results[result["number"]] = result
            if result["wrong"]:
                found = item(arguments.seed, result["number"], known)
                (work / "wrong").mkdir(exist_ok=True)
                (work / "wrong" / f"{found.number}.{found.format}").write_bytes(found.content)
                print(f"{found.number} {found.format} ({found.way}): {'; '.join(result['wrong'])[:300]}", flush=True)
            if time.monotonic() - said > 10:
                said = time.monotonic()
                print(f"{done} of {len(left)} files, {done / (said - begun):.0f} a second", flush=True)
    print(table([result for number, result in results.items() if number < arguments.files]))
    return 1 if any(result["wrong"] for result in results.values()) else 0


def table(results: list[Result]) -> str:
    """Return how items ended, by format."""
    columns = ("described", "refused", "raised", "over time", "over memory", "crashed", "otherwise wrong")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for result in results:
        for row in (result["format"], "all"):
            counts[row]["files"] += 1
            counts[row][result["outcome"]] += 1
            if result["outcome"] == "refused":
                reasons[row][result["reason"]] += 1
            for wrong in result["wrong"]:
                counts[row][_column(wrong)] += 1
    lines = [
        "  ".join(["format".ljust(10), "files".rjust(6), *(name.rjust(9) for name in columns), "refused by reason"])
    ]
    for row in (*FORMATS, "all"):
        if row in counts:
            by_reason = ", ".join(f"{reason} {count}" for reason, count in reasons[row].most_common())
            numbers = [str(counts[row][name]).rjust(max(9, len(name))) for name in columns]
            lines.append("  ".join([row.ljust(10), str(counts[row]["files"]).rjust(6), *numbers, by_reason]))
    slowest = max((result["seconds"] for result in results), default=0.0)
    largest = max((result["peak"] for result in results), default=0)
    spent = sum(result["seconds"] for result in results)
    lines.append(
        f"slowest {slowest:.2f} s, most memory {largest / 2**20:.0f} MiB, in all {spent:.0f} s of processor time"
    )
    return "\n".join(lines)


def _column(wrong: str) -> str:
    return {"time": "over time", "memory": "over memory", "crashed": "crashed", "raised": "raised"}.get(
        wrong.partition(":")[0], "otherwise wrong"
    )


def _version() -> str:
    """Return what changes with the files that make the corpus: numbers then stand for other items."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:8]


def _results(kept: Path) -> dict[int, Result]:
    """Return what was done before; a last line that was cut off counts for nothing."""
    found: dict[int, Result] = {}
    if kept.exists():
        for line in kept.read_text().splitlines():
            try:
                result = json.loads(line)
            except json.JSONDecodeError:
                continue
            found[result["number"]] = result
    return found


if __name__ == "__main__":
    sys.exit(main())
