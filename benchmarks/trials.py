"""Try the product on cases, and say of each whether it came out right: `make trials`, `CASES=DIR` for others.

A case is a folder with a `make.py DIR` that makes its input. What should come out stands in its `expected.json`, or in
`tests/trials/expected/CASE.json`. The case is scanned, its plan is run for real and undone, and all of it is compared.

    .venv/bin/python -m benchmarks.trials tests/trials ../shared/cases
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import combinations
from pathlib import Path
from typing import Any

OWN = Path(__file__).parents[1] / "tests" / "trials"
SHOWN = 6
"""Faults shown of a case."""
KEYS = {
    "apart": "lists of patterns: no two of the files that fit are copies of each other as a whole",
    "duplicates": "lists of files: all are copies of one original",
    "found": "lists of files: those, at least unsure",
    "exact": "lists of files: all are exactly the same",
    "exact_apart": "lists of patterns: no two of the files that fit are exactly the same",
    "together": "lists of files that are shown as belonging together",
    "go": "lists of files: all but one are in the plan",
    "go_if_asked": "lists of files: all but one are in the plan with --plan-include duplicate",
    "stay": "patterns of files that are not in the plan",
    "stay_anyway": "patterns of files that are in no plan, also not with --plan-include duplicate",
}
Tree = dict[str, tuple[bytes, int]]


class Failed(Exception):
    """A case could not be run."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a case.

    Attributes:
        files: paths below the case's folder. companions: of the files in groups.
        edges: pairs of files with the decision, whether the match is of both as a whole, and how exact it is.
        plans: files that the plan lists, by what it includes.
    """

    files: list[str]
    companions: dict[str, set[str]]
    edges: list[tuple[str, str, str, bool, str]]
    plans: dict[str, set[str]]


@dataclass(slots=True)
class _Sets:
    """Sets of files that are joined pair by pair."""

    parent: dict[str, str] = field(default_factory=dict)

    def of(self, file: str) -> str:
        """Return what stands for a file's set."""
        while (above := self.parent.get(file, file)) != file:
            file = above
        return file

    def join(self, a: str, b: str) -> None:
        """Make one set of two."""
        self.parent[self.of(a)] = self.of(b)


def try_case(make: Path, work: Path) -> Outcome:
    """Make a case's input, scan it, and run its plan.

    Raises:
        Failed: a command failed, or undoing the plan did not bring everything back.
    """
    media = work / "media"
    _run(sys.executable, str(make), str(media))
    before = _tree(media)
    plans = {}
    for include in ("exact", "duplicate"):
        output = work / include
        scan = ("-m", "neardup.workers.cli.main", "scan", str(media), "--index", str(work / "index"))
        _run(sys.executable, *scan, "--output", str(output), "--plan", "--plan-include", include)
        listed = {_below(one, media) for one in json.loads((output / "plan.json").read_bytes())["moves"]}
        _run("/bin/sh", str(output / "plan.sh"), "--run")
        if (missing := before.keys() - _tree(media).keys()) != listed:
            raise Failed(f"plan.sh moved {sorted(missing)}, plan.json lists {sorted(listed)}")
        for undo in output.glob("neardup-quarantine/*/undo.sh"):
            _run("/bin/sh", str(undo))
        if _tree(media) != before:
            raise Failed("undo.sh did not bring everything back")
        plans[include] = listed
    report = json.loads((work / "exact" / "duplicates.json").read_bytes())
    return _outcome(report, sorted(before), plans, media)


def _outcome(report: dict[str, Any], files: list[str], plans: dict[str, set[str]], media: Path) -> Outcome:
    companions: dict[str, set[str]] = {}
    edges = []
    for group in report["groups"]:
        original = _below(group["original"], media)
        for file in (group["original"], *(match["file"] for match in group["matches"])):
            companions[_below(file, media)] = {os.path.relpath(path, media) for path in file["companions"]}
        for match in group["matches"]:
            facts = (match["decision"], match["where"]["kind"] == "whole", match["exact"])
            edges.append((original, _below(match["file"], media), *facts))
    return Outcome(files, companions, edges, plans)


def faults(expected: dict[str, Any], outcome: Outcome) -> Iterator[str]:
    """Yield what is not as expected. Raises Failed for an expectation that is not understood or that nothing fits."""
    if unknown := expected.keys() - KEYS.keys():
        raise Failed(f"unknown expectations {sorted(unknown)}")
    duplicates, found, exact = _Sets(), _Sets(), _Sets()
    for a, b, decision, whole, how in outcome.edges:
        found.join(a, b)
        if decision == "duplicate" and whole:
            duplicates.join(a, b)
        if how:
            exact.join(a, b)
    for key, sets, words in (
        ("duplicates", duplicates, "duplicates"),
        ("found", found, "found"),
        ("exact", exact, "exact"),
    ):
        for names in expected.get(key, ()):
            first, *others = _named(names, outcome)
            yield from (f"not {words}: {other} and {first}" for other in others if sets.of(other) != sets.of(first))
    for key, sets, words in (("apart", duplicates, "duplicate"), ("exact_apart", exact, "exact")):
        for patterns in expected.get(key, ()):
            fitting = _fitting(patterns, outcome)
            yield from (f"{words}: {a} and {b}" for a, b in combinations(fitting, 2) if sets.of(a) == sets.of(b))
    for names in expected.get("together", ()):
        first, *others = _named(names, outcome)
        yield from (f"not together: {o} and {first}" for o in others if o not in outcome.companions.get(first, ()))
    for key, include in (("go", "exact"), ("go_if_asked", "duplicate")):
        for names in expected.get(key, ()):
            left = [name for name in _named(names, outcome) if name not in outcome.plans[include]]
            if len(left) != 1:
                yield f"{len(left)} stay of {len(names)} ({include}): {', '.join(left) or 'none'}"
    for key, includes in (("stay", ("exact",)), ("stay_anyway", ("exact", "duplicate"))):
        fitting = _fitting(expected[key], outcome) if key in expected else []
        for include in includes:
            yield from (f"in the plan ({include}): {name}" for name in fitting if name in outcome.plans[include])


def _named(names: list[str], outcome: Outcome) -> list[str]:
    if missing := [name for name in names if name not in outcome.files]:
        raise Failed(f"expected files are not there: {missing}")
    return names


def _fitting(patterns: list[str], outcome: Outcome) -> list[str]:
    fitting = [name for name in outcome.files if any(fnmatchcase(name, pattern) for pattern in patterns)]
    if not fitting:
        raise Failed(f"no file fits {patterns}")
    return fitting


def _below(file: dict[str, str], media: Path) -> str:
    path = os.fsdecode(bytes.fromhex(file["path_bytes"])) if "path_bytes" in file else file["path"]
    return os.path.relpath(path, media)


def _tree(folder: Path) -> Tree:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {os.path.relpath(path, folder): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        raise Failed(f"{' '.join(command[:3])} … ended with {done.returncode}: {done.stderr.strip()[-400:]}")


def expectation(case: Path) -> dict[str, Any] | None:
    """Return what should come out of a case, of its own or by its name; None where nobody said."""
    for path in (case / "expected.json", OWN / "expected" / f"{case.name}.json"):
        if path.exists():
            loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return loaded
    return None


def _judge(case: Path) -> tuple[str, list[str]]:
    """Return `right`, `wrong` or `no expectation`, and what is wrong."""
    expected = expectation(case)
    if expected is None:
        return "no expectation", []
    work = Path(tempfile.mkdtemp(prefix="neardup-trial-"))
    try:
        wrong = list(faults(expected, try_case(case / "make.py", work)))
    except Failed as error:
        wrong = [str(error)]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return "wrong" if wrong else "right", wrong


def main() -> int:
    """Try all cases and return the exit code: 1 if any is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, help="folders of cases, or single ones")
    cases = [case for folder in parser.parse_args().folders for case in sorted((folder, *folder.iterdir()))]
    counts: Counter[str] = Counter()
    for case in cases:
        if not (case / "make.py").exists():
            continue
        verdict, wrong = _judge(case)
        counts[verdict] += 1
        print(f"{verdict:15} {case.name}{f': {len(wrong)}' if wrong else ''}", flush=True)
        for fault in wrong[:SHOWN]:
            print(f"{'':15} - {fault!r}"[:200])
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())) or "no cases")
    return 1 if counts["wrong"] or not counts else 0


if __name__ == "__main__":
    sys.exit(main())
