"""What the geometric proof says of edited copies and of strangers, and what it costs.

    python -m benchmarks.prove [DATA …] [--videos FOLDER …] [--pictures 500] [--side 320] [--show 20] [--variants 20]

Each of so many pictures is edited four times (`neardup/pipeline/learn/evaluate/queries.py`). A copy is proved against
its original, and every query against the two strangers that the shipped network takes for the most alike. Pictures
stand in two halves by the hash of their file: the constants of `neardup/pipeline/prove` were chosen on the first; the
second is what counts. Frames of one video, 0.7 seconds apart, stand for shots of a burst; those that hardly differ are
left out. `--variants` proves so many look-alikes of each kind of `neardup evaluate --variants`, and as many true
copies, at 320 pixels, and from their files again where that is too small. Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from PIL import Image

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.embed.embedder import make_embedder
from neardup.pipeline.learn.evaluate.queries import EvaluationSet, build_set, find_kinds
from neardup.pipeline.learn.evaluate.systems import tiles
from neardup.pipeline.learn.evaluate.variants import make_samples
from neardup.pipeline.learn.shared.intervals import wilson
from neardup.pipeline.learn.shared.pictures import Pictures, load_pictures
from neardup.pipeline.learn.variants import HELD_OUT
from neardup.pipeline.prove.documents import Load, prove_closely
from neardup.pipeline.prove.finding import Finding
from neardup.pipeline.prove.keypoints import SIDE, Keypoints, find_keypoints, use_one_thread
from neardup.pipeline.prove.proof import Proof, prove
from neardup.pipeline.prove.relation import Judgement, judge
from neardup.pipeline.types import Descriptors, Pixels

ALIKE = Path(__file__).parent / "split" / "alike.csv"
STRANGERS = 2
STRENGTHS = ("light", "medium", "hard")
BATCH = 64
HEAD = "| | copy | variant | unproved | grounds |\n| --- | ---: | ---: | ---: | --- |"
FILMS = frozenset({".mp4", ".webm", ".mov", ".avi", ".mkv"})
BURST_SECONDS, BURST_FRAMES = 0.7, 10
DIFFERENT = 1.5
"""Mean difference, in grey levels, of frames that are not the same picture encoded twice."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A query and a reference of the set, and what was found."""

    query: int
    reference: int
    true: bool
    document: bool
    proof: Proof | None
    judgement: Judgement
    seconds: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="*", help="folders of pictures")
    parser.add_argument("--videos", type=Path, nargs="*", default=[], help="folders of videos, for bursts")
    parser.add_argument("--pictures", type=int, default=500, help="pictures that are edited")
    parser.add_argument("--side", type=int, default=SIDE, help="longest side in pixels")
    parser.add_argument("--most", type=int, default=1600, help="pictures that are read")
    parser.add_argument("--variants", type=int, default=0, help="look-alikes of each kind")
    parser.add_argument("--films", type=Path, help="a folder of videos, for the kind film of the look-alikes")
    parser.add_argument("--show", type=int, default=0, help="strangers called copies that are listed")
    options = parser.parse_args()
    use_one_thread()
    if options.variants:
        print_variants(prove_variants(options.variants, options.films))
    if not options.data:
        return
    pictures = load_pictures(options.data, options.side, alike=ALIKE, most=options.most, threads=2)
    given = build_set(pictures, find_kinds(pictures, options.data, {}), most=options.pictures, threads=2)
    half = halves(pictures, given)
    points, seconds = find_all((query.pixels for query in given.queries), options.side)
    pairs = list(prove_all(given, points, options.side))
    for name, chosen in (("first half (constants chosen on it)", 0), ("second half", 1)):
        print_half(name, given, [one for one in pairs if half[one.query] == chosen])
    print_rates(pairs)
    print_times(seconds, pairs)
    if options.videos:
        bursts = list(prove_bursts(options.videos, options.side))
        print(f"\n{len(bursts)} shots of bursts, percent\n\n{HEAD}\n| shots | {shares(bursts)} |")
    for one in [one for one in pairs if not one.true and one.judgement.finding is Finding.COPY][: options.show]:
        query = given.queries[one.query]
        print(one.query, one.reference, query.kind, query.edits, given.kinds[one.reference], one.proof)


def halves(pictures: Pictures, given: EvaluationSet) -> list[int]:
    """Return 0 or 1 for each query, by the hash of the picture that it is made of."""
    names = {id(pixels): sha1 for pixels, sha1 in zip(pictures.pixels, pictures.sha1, strict=True)}
    own = [
        names.get(id(given.references[query.original]), "") if query.original >= 0 else str(number // 4)
        for number, query in enumerate(given.queries)
    ]
    return [hashlib.sha256(f"prove {name}".encode()).digest()[0] & 1 for name in own]


def find_all(pictures: Iterable[Pixels], side: int) -> tuple[list[Keypoints], list[float]]:
    """Return the key points of pictures, and the seconds that each took."""
    found, seconds = [], []
    for pixels in pictures:
        started = time.process_time()
        found.append(find_keypoints(pixels, side))
        found[-1].corners  # noqa: B018 (found when it is asked for)
        seconds.append(time.process_time() - started)
    return found, seconds


def prove_all(given: EvaluationSet, points: list[Keypoints], side: int) -> Iterable[Pair]:
    """Yield every query with its original and with its nearest strangers."""
    similarity = embed([query.pixels for query in given.queries]) @ embed(given.references).T
    similarity[~given.counted | given.correct] = -np.inf
    nearest = np.argsort(-similarity, axis=1, kind="stable")[:, :STRANGERS]
    references: dict[int, Keypoints] = {}
    for number, query in enumerate(given.queries):
        others = [(int(index), False) for index in nearest[number]]
        for index, true in [(query.original, True)] * (query.original >= 0) + others:
            if index not in references:
                references[index] = find_keypoints(given.references[index], side)
                references[index].corners  # noqa: B018
            started = time.process_time()
            proof = prove(points[number], references[index])
            yield Pair(
                number, index, true, references[index].is_document, proof, judge(proof), time.process_time() - started
            )


def prove_bursts(folders: list[Path], side: int) -> Iterable[Pair]:
    """Yield neighbouring frames of each video."""
    for path in sorted(path for folder in folders for path in folder.rglob("*") if path.suffix in FILMS):
        frames = [find_keypoints(pixels, side) for pixels in read_frames(path)]
        for number, (query, reference) in enumerate(pairwise(frames)):
            if np.abs(query.grey.astype(np.int16) - reference.grey).mean() >= DIFFERENT:
                started = time.process_time()
                proof = prove(query, reference)
                yield Pair(
                    number, number + 1, False, reference.is_document, proof, judge(proof), time.process_time() - started
                )


def prove_variants(count: int, films: Path | None) -> dict[tuple[str, bool], list[Judgement]]:
    """Return what is found of look-alikes, and of true copies, by kind."""
    found: dict[tuple[str, bool], list[Judgement]] = defaultdict(list)
    for samples in make_samples(count, films, threads=1):
        for sample in samples:
            first, second, copy = map(loader, (sample.variant.a, sample.variant.b, sample.copy))
            found[sample.variant.kind, False].append(prove_closely(second, first)[1])
            found[sample.variant.kind, True].append(prove_closely(copy, first)[1])
    return found


def loader(file: bytes) -> Load:
    """Return what loads the key points of a picture's file at a side, once for each."""
    with Image.open(io.BytesIO(file)) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    return cache(lambda side: find_keypoints(pixels, side))


def print_variants(found: dict[tuple[str, bool], list[Judgement]]) -> None:
    """Print how many look-alikes and copies of each kind were called what, and the share of them all."""
    print("\n| kind | pairs | look-alikes: copy | variant | unproved | copies: copy | variant | unproved |")
    print(f"| --- | {' ---: |' * 7}")
    kinds = sorted({kind for kind, _ in found}, key=lambda kind: (kind in HELD_OUT, kind))
    rows = [(f"{kind}, held out" if kind in HELD_OUT else kind, [kind]) for kind in kinds]
    for name, held_out in (("all that constants were chosen on", False), ("all held out", True)):
        rows.append((name, [kind for kind in kinds if (kind in HELD_OUT) is held_out]))
    for name, of in rows:
        cells = []
        for copies in (False, True):
            judged = [one for kind in of for one in found[kind, copies]]
            cells += [str(sum(one.finding is finding for one in judged)) for finding in Finding]
        print(f"| {name} | {sum(len(found[kind, False]) for kind in of)} | {' | '.join(cells)} |")
    for held_out in (False, True):
        judged = [one for kind in kinds if (kind in HELD_OUT) is held_out for one in found[kind, False]]
        wrong = sum(one.finding is Finding.COPY for one in judged)
        low, high = wilson(wrong, len(judged))
        share = 100 * wrong / max(1, len(judged))
        words = "held out" if held_out else "chosen on"
        print(f"\nlook-alikes called a copy, {words}: {share:.1f} % ({100 * low:.1f} to {100 * high:.1f})")


def read_frames(path: Path) -> Iterable[Pixels]:
    """Yield the first frames of a video, some time apart."""
    with av.open(str(path)) as container:
        wanted, found = 0.0, 0
        for frame in container.decode(video=0):
            if float(frame.time or 0) >= wanted and found < BURST_FRAMES:
                yield frame.to_ndarray(format="rgb24")
                wanted, found = wanted + BURST_SECONDS, found + 1
            if found == BURST_FRAMES:
                break


def embed(pictures: Iterable[Pixels]) -> Descriptors:
    """Return the descriptors of the shipped network."""
    checkpoint = load_checkpoint("default")
    embedder = make_embedder(checkpoint, "cpu", threads=2)
    listed = list(pictures)
    batches = (listed[start : start + BATCH] for start in range(0, len(listed), BATCH))
    return np.concatenate([embedder.embed(tiles(batch, embedder.size)).vectors for batch in batches])


def print_half(name: str, given: EvaluationSet, pairs: list[Pair]) -> None:
    """Print what was found, of copies by edit, and of strangers."""
    copies, strangers = [one for one in pairs if one.true], [one for one in pairs if not one.true]
    print(f"\n{name}: {len(copies)} copies, {len(strangers)} strangers, percent\n")
    print(HEAD)
    pictures = [one for one in copies if not one.document]
    over = [one for one in pictures if given.queries[one.query].family == "over"]
    rows = {"copies": copies, "of pictures, not documents": pictures, "of these with something put over": over}
    for words, listed in {**rows, "strangers": strangers}.items():
        print(f"| {words} | {shares(listed)} |")
    by_edit: dict[str, dict[str, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for one in copies:
        query = given.queries[one.query]
        by_edit["chain" if query.family == "chain" else query.edits][query.strength].append(one)
    print(f"\n| called a copy | {' | '.join(STRENGTHS)} | of |\n| --- | {' ---: |' * 4}")
    for edit in sorted(by_edit):
        cells = [share(by_edit[edit][strength], Finding.COPY) for strength in STRENGTHS]
        print(f"| {edit} | {' | '.join(cells)} | {sum(map(len, by_edit[edit].values()))} |")


def print_rates(pairs: list[Pair]) -> None:
    """Print the numbers of `calibration.PROVED`: pairs of both halves by the ground of what was found."""
    for name, true in (("copies", True), ("strangers", False)):
        grounds = Counter(one.judgement.ground.value for one in pairs if one.true is true)
        print(f"\n{name}: " + ", ".join(f"{ground} {count}" for ground, count in grounds.most_common()))


def shares(pairs: list[Pair]) -> str:
    """Return what pairs were called, and the commonest grounds but that they agree."""
    grounds = Counter(one.judgement.ground.value for one in pairs if one.judgement.finding is not Finding.COPY)
    said = ", ".join(f"{ground} {100 * count / len(pairs):.1f}" for ground, count in grounds.most_common(6))
    return " | ".join((*(share(pairs, finding) for finding in Finding), said))


def share(pairs: list[Pair], finding: Finding) -> str:
    """Return the percent of pairs that were called so; empty without pairs."""
    return f"{100 * np.mean([one.judgement.finding is finding for one in pairs]):.1f}" if pairs else ""


def print_times(seconds: list[float], pairs: list[Pair]) -> None:
    """Print medians in milliseconds."""
    kinds: dict[str, Callable[[Pair], bool]] = {
        "copy, stage 0": lambda one: one.true and one.proof is not None and one.proof.stage == 0,
        "copy, stage 1": lambda one: one.true and one.proof is not None and one.proof.stage == 1,
        "stranger": lambda one: not one.true,
    }
    print("\n| one thread | median ms | 90 % |\n| --- | ---: | ---: |")
    rows = {"key points of a picture": seconds}
    rows |= {name: [one.seconds for one in pairs if keep(one)] for name, keep in kinds.items()}
    for name, times in rows.items():
        if times:
            print(f"| {name} | {1000 * np.median(times):.2f} | {1000 * np.percentile(times, 90):.2f} |")


if __name__ == "__main__":
    main()
