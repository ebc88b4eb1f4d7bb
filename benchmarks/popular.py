"""Whether popular pictures are found: many copies of each, twins in a bank, and receipts of one shop.

    python -m benchmarks.popular DATA [--only FILE] [--pictures 200 --copies 20 --references 2000 --orders 5]
                                     [--no-proofs]

DATA holds pictures; those that are known to look alike (`split/alike.csv`) are not used together. Each of --pictures is
edited --copies times, as `neardup evaluate` edits them. Rows of the first table:

- *one copy each*: every copy by itself, asked about among the originals and the other references.
- *all copies*: the originals and the other references first, then all copies in a random order; the mean of --orders.
- *originals among them*: the other references first, then copies and originals in a random order; what comes first of a
  picture is no copy.
- *bank* and *bank with ten twins*: every copy by itself, asked of a curated bank of the originals; and of one that also
  holds ten twins of each, lightly edited.

The second table is of receipts of one shop, rendered: 150 of them, then copies of each.

Right is a match with the picture, with a copy of it, or with the head that the picture stands under. *wrong* is the
share of copies that are a duplicate of another picture, right ones besides or not.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from PIL import Image

from neardup.pipeline.embed.checkpoint import load_checkpoint
from neardup.pipeline.errors import InvalidFrame
from neardup.pipeline.learn.edits import Draw, chain
from neardup.pipeline.learn.evaluate.queries import WAYS, edit_in
from neardup.pipeline.learn.shared.pictures import Pictures, load_pictures
from neardup.pipeline.learn.variants.capture import CAPTURES
from neardup.pipeline.learn.variants.copies import copy_of
from neardup.pipeline.learn.variants.registry import KINDS, Content
from neardup.pipeline.log.changes import SEEN, BankChanged, BankEdit
from neardup.pipeline.log.records import Described, Entry, Record, Verdict, join_parts
from neardup.pipeline.match.apply.make import make_state, read_calibration
from neardup.pipeline.match.apply.state import State
from neardup.pipeline.match.query.lookup import ask_all
from neardup.pipeline.prove.files import FilePictures
from neardup.pipeline.prove.finding import BoxPair, Proved
from neardup.pipeline.prove.prover import Asked, Prover
from neardup.pipeline.settings import Settings, load
from neardup.pipeline.types import Decision, Pixels
from neardup.workers.cli.common import Bar
from neardup.workers.cli.reader import Reader

ALIKE = Path(__file__).parent / "split" / "alike.csv"
SHORT_SIDE = 384
ASIDE = 64
"""Pictures that edits paste in; no references."""
TWINS = 10
TWIN_EDITS = (("jpeg", 0.2), ("resize", 0.2), ("crop", 0.05), ("tone", 0.1), ("sharpen", 0.2))
RECEIPTS, RECEIPT_COPIES = 150, 2
SHOP = 16
"""The seed of the one shop."""
BATCH = 256
BANK = "known"
Make = Callable[[], State]


@dataclass(frozen=True, slots=True)
class Collection:
    """Described pictures by id; `family/name`, where `family` is a picture with its copies.

    Attributes:
        others: references that no copy is of. files: where each is, for proofs.
    """

    originals: Mapping[str, Described]
    copies: Mapping[str, Described]
    twins: Mapping[str, Described]
    others: Mapping[str, Described]
    files: FilePictures


@dataclass(frozen=True, slots=True)
class Shares:
    """Of how many copies the picture was found; all but `copies` from 0 to 1.

    Attributes:
        duplicate: with the right picture. listed: with it, as a duplicate or unsure. first: with it as the best match.
        wrong: a duplicate of another picture.
    """

    copies: int
    duplicate: float
    listed: float
    first: float
    wrong: float


def family_of(item_id: str) -> str:
    """Return the picture that an item is or copies."""
    return item_id.partition("/")[0]


def judge(verdicts: Iterable[Verdict], heads: Mapping[str, str] = {}, bank: str = SEEN) -> Shares:
    """Return how these copies were decided.

    Args:
        heads: for a picture the head that it stands under, where that is another picture's.
    """
    rows = []
    for verdict in verdicts:
        family = family_of(verdict.id)
        matches = [one for one in verdict.matches if one.bank == bank and one.decision is not Decision.DISTINCT]
        right = [family_of(one.reference) == family or one.reference == heads.get(family) for one in matches]
        duplicate = [one.decision is Decision.DUPLICATE for one in matches]
        rows.append((
            any(is_right and is_duplicate for is_right, is_duplicate in zip(right, duplicate, strict=True)),
            any(right),
            right[:1] == [True],
            any(is_duplicate and not is_right for is_right, is_duplicate in zip(right, duplicate, strict=True)),
        ))  # fmt: skip
    return Shares(len(rows), *np.mean(rows, axis=0).tolist())


class Stream:
    """A state with the offset that it stands at."""

    def __init__(self, make: Make, records: Sequence[Record]) -> None:
        """Begin with some records, whole items."""
        self.state = make()
        self._offset = 0
        self.apply(records)

    def apply(self, records: Sequence[Record]) -> list[Verdict]:
        """Take records in and return the verdicts."""
        found: list[Verdict] = []
        for start in range(0, len(records), BATCH):
            batch = [Entry(self._offset + n, one) for n, one in enumerate(records[start : start + BATCH])]
            self._offset += len(batch)
            found += [event for one in self.state.apply(batch) for event in one.events if isinstance(event, Verdict)]
        return found

    def ask(self, queries: Sequence[Described]) -> list[Verdict]:
        """Return what would be said of each of these by itself."""
        batches = [queries[start : start + BATCH] for start in range(0, len(queries), BATCH)]
        return [verdict for batch in batches for verdict in ask_all(self.state, batch, 0)]

    def heads(self, originals: Iterable[str]) -> dict[str, str]:
        """Return for each picture that stands under the head of another that head."""
        found = {}
        for name in originals:
            item = self.state.items.named(name)
            head = None if item is None else self.state.items.get(item.head)
            if head is not None and family_of(head.id) != family_of(name):
                found[family_of(name)] = head.id
        return found


def alone(given: Collection, make: Make) -> Shares:
    """Ask about every copy by itself, among originals and other references."""
    stream = Stream(make, [*given.others.values(), *given.originals.values()])
    return judge(stream.ask(list(given.copies.values())), stream.heads(given.originals))


def together(given: Collection, make: Make, order: int, originals_first: bool = True) -> Shares:
    """Take in all copies in a random order, after the other references and, perhaps, the originals."""
    originals, copies = list(given.originals.values()), list(given.copies.values())
    first, then = (originals, copies) if originals_first else ([], originals + copies)
    stream = Stream(make, [*given.others.values(), *first])
    mixed = [then[i] for i in np.random.default_rng(order).permutation(len(then))]
    known = {family_of(one.id) for one in first}
    copying = set()
    for one in mixed:
        if family_of(one.id) in known:
            copying.add(one.id)
        known.add(family_of(one.id))
    verdicts = [one for one in stream.apply(mixed) if one.id in copying]
    return judge(verdicts, stream.heads(given.originals))


def in_bank(given: Collection, make: Make, twins: bool) -> Shares:
    """Ask of every copy whether a bank of the originals, perhaps with their twins, knows it."""
    references = [*given.originals.values(), *(given.twins.values() if twins else ())]
    banked = [msgspec.structs.replace(one, bank=BANK) for one in references]
    stream = Stream(make, [*given.others.values(), BankChanged(bank=BANK, edit=BankEdit.CREATE), *banked])
    return judge(stream.ask(list(given.copies.values())), bank=BANK)


def draw_pictures(
    pictures: Pictures, count: int, copies: int, references: int, folder: Path, twins: int = TWINS
) -> None:
    """Write originals, copies, twins and others into files: `pN/original.jpg`, `pN/copy-K.jpg`, …, `other/N.jpg`.

    Of pictures that belong together one is used.
    """
    order = np.random.default_rng(0).permutation(len(pictures.groups)).tolist()
    order = list({pictures.groups[i]: i for i in order}.values())
    pasted = [pictures.pixels[i] for i in order[:ASIDE]]
    for place, index in enumerate(order[ASIDE : ASIDE + count + references]):
        pixels = pictures.pixels[index]
        if place >= count:
            _save(pixels, folder / "other" / f"{place}.jpg")
            continue
        family = folder / f"p{place}"
        _save(pixels, family / "original.jpg")
        for copy in range(copies):
            draw = Draw(np.random.default_rng((4, place, copy)), pasted)
            _save(edit_in(WAYS[(place * copies + copy) % len(WAYS)], pixels, draw)[0], family / f"copy-{copy}.jpg")
        for twin in range(twins):
            draw = Draw(np.random.default_rng((5, place, twin)))
            name, strength = TWIN_EDITS[twin % len(TWIN_EDITS)]
            _save(chain(pixels, [(name, draw.within(0, strength))], draw), family / f"twin-{twin}.jpg")


def draw_receipts(folder: Path, count: int = RECEIPTS, copies: int = RECEIPT_COPIES) -> None:
    """Write receipts of one shop, `pN/original.jpg`, and true copies of each."""
    entry = KINDS["receipt"]
    for place in range(count):
        drawn = entry.draw(np.random.default_rng(SHOP), Content((SHOP, place)))
        file = CAPTURES[entry.capture](drawn, np.random.default_rng(SHOP), np.random.default_rng((SHOP, place)))
        family = folder / f"p{place}"
        family.mkdir(parents=True)
        (family / "original.jpg").write_bytes(file)
        for copy in range(copies):
            (family / f"copy-{copy}.jpg").write_bytes(copy_of(file, place * copies + copy)[1])


def describe(folder: Path, model: str, settings: Settings) -> Collection:
    """Describe what was drawn into a folder."""
    found: dict[str, dict[str, Described]] = {"original": {}, "copy": {}, "twin": {}, "other": {}}
    files = FilePictures(settings.scan_limits)
    with Bar("describing") as bar:
        for path, parts in Reader(load_checkpoint(model), settings).described(folder, bar):
            if isinstance(parts, InvalidFrame):
                raise parts
            name = Path(path).relative_to(folder).with_suffix("").as_posix()
            family, _, kind = name.partition("/")
            role = "other" if family == "other" else kind.partition("-")[0]
            item_id = name if role != "other" else f"{kind}/other"
            found[role][item_id] = msgspec.structs.replace(join_parts(parts), id=item_id)
            files.add(found[role][item_id], Path(path))
    return Collection(found["original"], found["copy"], found["twin"], found["other"], files)


@dataclass
class Remembering(Prover):
    """A prover that makes no proof twice: all orders and banks ask for nearly the same ones."""

    made: dict[Asked, Proved | None] = field(default_factory=dict)

    def prove(
        self,
        query: str,
        reference: str,
        moments: Sequence[tuple[float, float]] = (),
        boxes: Sequence[BoxPair] = (),
    ) -> Proved | None:
        """Return what `Prover.prove` does."""
        asked = query, reference, tuple(moments), tuple(boxes)
        if asked not in self.made:
            self.made[asked] = super().prove(*asked)
        return self.made[asked]


def make_of(given: Collection, model: str, precision: float, proves: bool = True) -> Make:
    """Return what makes an empty state that proves these pictures, or none."""
    checkpoint = load_checkpoint(model)
    prover = Remembering(given.files) if proves else None
    return partial(make_state, checkpoint, read_calibration(checkpoint), precision, kind="exact", prover=prover)


def _save(pixels: Pixels, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "JPEG", quality=92)


def rows_of(given: Collection, make: Make, orders: int) -> Iterator[tuple[str, Shares]]:
    """Yield the rows of the first table."""
    yield "one copy each", alone(given, make)
    for name, first in (("all copies", True), ("originals among them", False)):
        yield name, mean(together(given, make, order, first) for order in range(orders))
    yield "bank", in_bank(given, make, twins=False)
    yield "bank with ten twins", in_bank(given, make, twins=True)


def receipt_rows(given: Collection, make: Make) -> Iterator[tuple[str, Shares]]:
    """Yield the rows of the second table."""
    receipts = list(given.originals.values())
    yield "the receipts themselves", judge(Stream(make, []).apply(receipts))
    yield "copies", alone(given, make)


def mean(several: Iterable[Shares]) -> Shares:
    """Return the mean of shares."""
    columns = np.mean([astuple(one) for one in several], axis=0).tolist()
    return Shares(round(columns[0]), *columns[1:])


def table(rows: Iterable[tuple[str, Shares]]) -> Iterator[str]:
    """Yield the lines of a table, in percent."""
    yield "| | copies | duplicate | duplicate or unsure | best match right | wrong |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name, one in rows:
        shares = (one.duplicate, one.listed, one.first, one.wrong)
        yield f"| {name} | {one.copies:,} | {' | '.join(f'{100 * share:.1f}' for share in shares)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("--only", type=Path, help="file with the sha1 of each picture to use")
    parser.add_argument("--model", default="default")
    parser.add_argument("--pictures", type=int, default=200)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--references", type=int, default=2000)
    parser.add_argument("--orders", type=int, default=5)
    parser.add_argument("--proofs", action=argparse.BooleanOptionalAction, default=True, help="prove as a scan does")
    options = parser.parse_args()
    settings = load(model=options.model)
    pictures = load_pictures(options.data, SHORT_SIDE, options.only, ALIKE, settings.worker_threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_pictures(pictures, options.pictures, options.copies, options.references, folder / "pictures")
        draw_receipts(folder / "receipts")
        given = describe(folder / "pictures", options.model, settings)
        print(f"{options.model}: {len(given.originals)} pictures, {len(given.others):,} other references, "
              f"{options.orders} orders; percent of copies")  # fmt: skip
        receipts = describe(folder / "receipts", options.model, settings)
        decide = partial(make_of, model=options.model, precision=settings.precision, proves=options.proofs)
        for line in table(rows_of(given, decide(given), options.orders)):
            print(line, flush=True)
        print()
        for line in table(receipt_rows(receipts, decide(receipts))):
            print(line, flush=True)


if __name__ == "__main__":
    main()
