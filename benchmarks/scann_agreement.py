"""Whether verdicts that rest on ScaNN are those of the exact index: decisions, evidence, and which search lost what.

    python -m benchmarks.scann_agreement DATA --cache FOLDER [--model default] [--references 100000] [--efforts 1 2 4 8]

References are the whole pictures of the training part of the split, and cuts of them. They are taken in while every
search is still exact, each standing for itself. Then copies (edited pictures of that part) and strangers (further cuts)
are asked about, first so and then with ScaNN built over all references: with how many of its leaves, *effort* says.
Evidence is that of the best match. It changes where ScaNN loses the best match itself (*match lost*), or a neighbour
that the query is measured against (*cohort*). A cut's neighbours are other cuts of its picture.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.heldout import HELD_OUT
from benchmarks.precision import SKIP, load
from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.index.scann.proposer import ScannProposer
from neardup.pipeline.learn.calibrate.calibrate import collect
from neardup.pipeline.learn.calibrate.distractors import joined
from neardup.pipeline.learn.shared.pictures import kinds_of, read_labels, source_of, split_held_out
from neardup.pipeline.log.records import Described, Entry, pack_hashes, pack_vectors
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import lookup
from neardup.pipeline.types import Decision, Embedded

BATCH = 256
NEVER = 10**12
MOST_CHANGE = 0.02
STRANGERS = 5000


@dataclass(frozen=True, slots=True)
class Answers:
    """What was said of n queries.

    Attributes:
        best: id of the best match, "" for none. decision, evidence: of it. milliseconds: for each query.
    """

    best: npt.NDArray[np.str_]
    decision: npt.NDArray[np.str_]
    evidence: npt.NDArray[np.float64]
    milliseconds: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the answers of two searches agree; shares from 0 to 1.

    Attributes:
        decisions: equal. evidence: of the best match, changed by at most MOST_CHANGE. match_lost, cohort: why it
            changed by more; the two add up to the rest.
    """

    queries: int
    decisions: float
    evidence: float
    match_lost: float
    cohort: float


def records(prefix: str, embedded: Embedded) -> list[Described]:
    """Return pictures as the log has them, named by the prefix and their number."""
    return [
        Described(
            id=f"{prefix}-{n}",
            sha256=f"{prefix}-{n}".encode().ljust(32, b"."),
            dimension=embedded.vectors.shape[1],
            pts=(0.0,),
            vectors=pack_vectors(embedded.vectors[n : n + 1]),
            hashes=pack_hashes(embedded.hashes[n : n + 1]),
            detail=embedded.detail[n : n + 1].tobytes(),
        )
        for n in range(len(embedded.vectors))
    ]


def fill(state: State, references: Sequence[Described]) -> None:
    """Take references in."""
    for start in range(0, len(references), BATCH):
        state.apply([Entry(start + n, one) for n, one in enumerate(references[start : start + BATCH])])


def ask(state: State, queries: Sequence[Described], effort: int = 1) -> Answers:
    """Ask about each query by itself."""
    index = state.seen.heads.index
    search = index.search
    index.search = partial(search, effort=effort)  # type: ignore[method-assign]
    began = time.process_time()
    try:
        found = [
            matches[0] if matches else None
            for start in range(0, len(queries), BATCH)
            for matches in lookup(state, queries[start : start + BATCH], 1)
        ]
    finally:
        index.search = search  # type: ignore[method-assign]
    spent = 1000 * (time.process_time() - began) / max(len(queries), 1)
    return Answers(
        np.array([one.reference if one else "" for one in found]),
        np.array([one.decision.value if one else Decision.DISTINCT.value for one in found]),
        np.array([one.evidence if one else -1.0 for one in found]),
        spent,
    )


def compare(exact: Answers, other: Answers) -> Agreement:
    """Return how far another search agrees with the exact one."""
    changed = np.abs(exact.evidence - other.evidence) > MOST_CHANGE
    lost = exact.best != other.best
    return Agreement(
        len(changed),
        float((exact.decision == other.decision).mean()),
        float((~changed).mean()),
        float((changed & lost).mean()),
        float((changed & ~lost).mean()),
    )


def table(state: State, groups: dict[str, list[Described]], efforts: Sequence[int]) -> Iterator[str]:
    """Yield the lines of the table. The state searches exactly, and by ScaNN afterwards."""
    proposer = state.seen.heads.index.proposer
    assert isinstance(proposer, ScannProposer)
    assert proposer.is_exact
    exact = {name: ask(state, queries) for name, queries in groups.items()}
    proposer.rebuild()
    proposer.wait()
    if proposer.is_exact:
        raise SystemExit("ScaNN was not built; see the log")
    yield (
        f"| queries | effort | number | decisions equal, % | evidence within {MOST_CHANGE}, % "
        "| match lost, % | cohort, % | ms a query |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, right in exact.items():
        yield f"| {name} | exact | {len(groups[name]):,} | | | | | {right.milliseconds:.1f} |"
    for effort in efforts:
        for name, queries in groups.items():
            answers = ask(state, queries, effort)
            one = compare(exact[name], answers)
            shares = (one.decisions, one.evidence, one.match_lost, one.cohort)
            yield (
                f"| {name} | {effort} | {one.queries:,} | {' | '.join(f'{100 * share:.2f}' for share in shares)} | "
                f"{answers.milliseconds:.1f} |"
            )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--references", type=int, default=100_000)
    parser.add_argument("--one-in", type=int, default=1, help="queries, of which one is asked (%(default)s)")
    parser.add_argument("--efforts", type=int, nargs="+", default=[1, 2, 4, 8], help="times as many leaves")
    parser.add_argument("--cache", type=Path, help="folder that keeps what was described; a later run goes on from it")
    options = parser.parse_args()
    checkpoint = load_checkpoint(options.model)
    as_split, pictures = load(options.data, "train", None)
    others, held = split_held_out(as_split, HELD_OUT)
    sources = source_of(pictures, [options.data])
    kinds = kinds_of(pictures, sources, read_labels(options.data / "manifest.csv"))
    material = collect(make_embedder(checkpoint, threads=2), pictures, held, others[SKIP:], sources, kinds,
                       options.references + STRANGERS, options.cache)  # fmt: skip
    copies = material.queries.where(material.own >= 0).embedded
    pool = joined([material.pictures.embedded, material.cuts.embedded])
    known = records("reference", pool)[: options.references + STRANGERS]
    groups = {"copies": records("copy", copies), "strangers": known[options.references :]}
    groups = {name: queries[:: options.one_in] for name, queries in groups.items()}
    calibration = read_calibration(checkpoint)
    state = make_state(checkpoint, calibration, 0.99, stars=False, kind="scann", scann_from=NEVER)
    fill(state, known[: options.references])
    print(f"{checkpoint.name}: {options.references:,} references")
    for line in table(state, groups, options.efforts):
        print(line, flush=True)
    state.close()


if __name__ == "__main__":
    main()
