"""Random logs of a small world: some ids, some pictures at angles in planes, films, and people who change things.

A film shows a stretch of a source, each moment of which is in a plane of its own.

A log is made step by step beside the model, which says what is asked, so that proofs can be answered: in any order, in
part, late, twice, wrongly or never.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec
import numpy as np

from neardup.pipeline.log.changes import (
    FOREVER_MS,
    SEEN,
    Action,
    BankChanged,
    BankEdit,
    Calibrated,
    ClusterEdit,
    ClusterEdited,
    Outcome,
    ReferenceChanged,
    ReferenceEdit,
    Reviewed,
)
from neardup.pipeline.log.proofs import Asked, Candidate, ItemProved, PairProved, ProofExpired, ProofPending
from neardup.pipeline.log.records import (
    ARCHIVE,
    Described,
    Entry,
    Event,
    Record,
    Redecided,
    Referenced,
    Removed,
    Verdict,
)
from neardup.pipeline.prove.finding import Finding, Ground, ProofSummary, Proved
from tests.model.curves import ENCODED, PRECISIONS
from tests.model.model import DAY_MS, Model
from tests.pipeline.match.build import (
    AGREES,
    BLANK,
    NOTHING_FITS,
    OTHER_WRITING,
    SHIFTED,
    SPEAKING,
    at,
    described,
    picture,
    video,
)

PROOFS: list[Proved | None] = [
    AGREES,
    AGREES,
    Proved(
        ProofSummary(finding=Finding.COPY, ground=Ground.AGREES),
        None,
        reference_box=(0.0, 0.0, 0.5, 0.5),
        reference_share=0.25,
    ),
    OTHER_WRITING,
    NOTHING_FITS,
    Proved(ProofSummary(finding=Finding.UNPROVED, ground=Ground.CHANGED_SCENE), SHIFTED),
    None,
]
FILMS_SHARE = 0.3
"""Of worlds: those with films."""
SOURCES, MOMENTS = 2, 9
FIRST_PLANE = 3
"""Of the first moment of the first source; a source has MOMENTS of them."""
INTERVAL = 0.5
"""Seconds between frames."""
STEP = 3.0
"""Degrees between pictures of a plane: thresholds lie between multiples of it."""


class World:
    """Makes one log.

    Attributes:
        most: of the model.
    """

    def __init__(self, seed: int, length: int) -> None:
        self.seed, self.length = seed, length
        self._random = random.Random(seed)
        self.most = self._random.choice([100_000, 100_000, 2])
        self._ids = [f"i{n}" for n in range(self._random.choice([6, 12, 30]))]
        self._banks = ["x", "y", "z"][: self._random.choice([0, 1, 2, 3])]
        self._steps = self._random.choice([8, 14, 20])
        self._planes = self._random.choice([1, 1, 2])
        self._films = random.Random(f"films {seed}").random() < FILMS_SHARE
        self._sent: list[Described] = []
        self._later: list[Described] = []
        self._asked: list[Asked] = []
        self._expired: list[Asked] = []
        self._of_references: list[Asked] = []
        self._listed: list[tuple[str, str, str]] = []
        self._reviewed: list[tuple[str, str, str]] = []
        self._source = 0

    def entries(self) -> tuple[list[Entry], list[list[Event]]]:
        """Return the log and what the model says of it.

        Raises:
            Unclear: something is too near to a threshold.
        """
        model, now = Model(self.most), 10**12
        entries: list[Entry] = []
        said: list[list[Event]] = []
        for offset in range(self.length):
            now += self._random.choice([0, 1, 1000, 60_000]) if self._random.random() > 0.02 else DAY_MS + 1000
            entries.append(Entry(offset, self._record(now), now))
            said.append(model.take(entries[-1]))
            self._note(said[-1])
        return entries, said

    def _note(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, ProofPending):
                self._asked.append(event.asked)
            if isinstance(event, Referenced):
                self._asked += event.asked
                self._of_references += event.asked
            verdict = event.verdict if isinstance(event, Redecided) else event
            if isinstance(verdict, Verdict):
                self._listed += [(verdict.id, match.bank, match.reference) for match in verdict.matches]

    def _record(self, now: int) -> Record:
        choose = self._random.random()
        people = 0.25 if self._banks else 0.15
        if choose < people:
            makers = [self._review, self._review, self._cluster, self._calibrate, self._remove]
            return self._random.choice([*makers, *([self._bank, self._reference] * bool(self._banks))])(now)
        if self._asked and choose < people + 0.27:
            return self._answer()
        if self._later and choose < people + 0.33:
            return self._send(self._later.pop(self._random.randrange(len(self._later))))
        if self._sent and choose < people + 0.36:
            of_banks = [record for record in self._sent if record.bank != SEEN]
            return self._random.choice(of_banks if of_banks and self._random.random() < 0.5 else self._sent)
        return self._describe()

    def _send(self, record: Described) -> Described:
        self._sent.append(record)
        return record

    def _describe(self) -> Described:
        is_film = self._films and self._random.random() < 0.6
        record = self._film() if is_film else self._picture()
        archive = random.Random(f"archive {self.seed} {self._source}")
        bank = self._random.choice([SEEN, SEEN, SEEN, *self._banks]) if self._banks else SEEN
        record = msgspec.structs.replace(
            record,
            bank=bank,
            source_partition=0,
            source_offset=self._source,
            produced_ms=self._source,
            thumbnail=f"thumbnail {self._source}",
        )
        if bank == SEEN and archive.random() < 0.12:
            record = msgspec.structs.replace(
                record,
                source_partition=ARCHIVE,
                source_offset=archive.randrange(self._source + 1),
                quiet=archive.random() < 0.8,
            )
        if self._random.random() < 0.12 and not is_film:
            again = described(record.id, np.eye(1, record.dimension, dtype=np.float32), detail=BLANK)
            self._later.append(
                msgspec.structs.replace(record, part=1, vectors=again.vectors, hashes=again.hashes, detail=again.detail)
            )
            record = msgspec.structs.replace(record, last=False)
        return self._send(record)

    def _picture(self) -> Described:
        plane, step, form = (
            self._random.randrange(self._planes),
            self._random.randrange(self._steps),
            self._random.randrange(3),
        )
        item = self._random.choice(self._ids)
        if self._films and self._random.random() < 0.5:  # a still
            plane = FIRST_PLANE + self._random.randrange(SOURCES * MOMENTS)
        self._source += 1
        pixels = f"pixels {plane} {step}".encode() if form < 2 and step % 2 else b""
        tremble = random.Random(f"{plane} {step} {form}").uniform(-0.1, 0.1)
        blank = random.Random(f"blank {plane} {step} {form}").random() < 0.05
        return picture(
            item,
            STEP * step + tremble,
            plane=plane,
            sha256=f"content {plane} {step} {form}".encode(),
            pixels=pixels,
            detail=BLANK if blank else SPEAKING,
        )

    def _film(self) -> Described:
        """Return a stretch of a source, as one version of it shows it."""
        source, step, form = (
            self._random.randrange(SOURCES),
            self._random.randrange(self._steps),
            self._random.randrange(2),
        )
        length = self._random.choice([3, 4, 5, 6, 8, MOMENTS])
        start = self._random.randrange(MOMENTS - length + 1)
        self._source += 1
        name = f"film {source} {step} {start} {length}"
        degrees = STEP * step + random.Random(f"{name} {form}").uniform(-0.1, 0.1)
        first = FIRST_PLANE + MOMENTS * source + start
        (record,) = video(
            self._random.choice(self._ids),
            np.concatenate([at(degrees, plane=plane) for plane in range(first, first + length)]),
            pts=[INTERVAL * n for n in range(length)],
            sha256=f"{name} {form}".encode(),
            pixels=name.encode() if step % 2 else b"",
        )
        return record

    def _answer(self) -> Record:
        asked = self._random.choice(self._asked if self._random.random() < 0.4 else self._asked[-4:])
        if self._expired and self._random.random() < 0.2:  # answered late
            asked = self._random.choice(self._expired[-3:])
        if self._random.random() < 0.18:
            self._expired.append(asked)
            came_later = any(asked is one for one in self._of_references)
            named = [Candidate(bank=ask.bank, reference=ask.reference, offset=ask.offset) for ask in asked.asks]
            return ProofExpired(id=asked.id, offset=asked.offset, reference=named[0] if came_later else None)
        pairs = [
            PairProved(bank=ask.bank, reference=ask.reference, offset=ask.offset, proved=self._random.choice(PROOFS))
            for ask in asked.asks
        ]
        self._random.shuffle(pairs)
        if self._random.random() < 0.3:
            pairs = pairs[: self._random.randint(0, len(pairs))]
        if pairs and self._random.random() < 0.1:
            pairs.append(msgspec.structs.replace(pairs[0], proved=self._random.choice(PROOFS)))
        given = ItemProved(id=asked.id, offset=asked.offset, pairs=tuple(pairs), produced_ms=asked.produced_ms)
        match self._random.randrange(25):
            case 0:
                return msgspec.structs.replace(given, offset=given.offset + 1)
            case 1:
                return msgspec.structs.replace(given, id=self._random.choice(self._ids))
            case 2 if pairs:
                stale = msgspec.structs.replace(pairs[0], offset=pairs[0].offset + 1)
                return msgspec.structs.replace(given, pairs=(stale, *pairs[1:]))
        return given

    def _remove(self, _now: int) -> Record:
        return Removed(id=self._random.choice(self._ids), by=self._random.choice(["", "ann"]))

    def _bank(self, _now: int) -> Record:
        name = self._random.choice([*self._banks, SEEN])
        edit = (
            self._random.choice([BankEdit.SET] * 5 + [BankEdit.CREATE, BankEdit.DELETE])
            if name != SEEN
            else BankEdit.SET
        )
        action = self._random.choice([None, Action.ALLOW, Action.FLAG]) if name != SEEN else None
        ratio = self._random.choice([None, None, 0.0, 0.5, 1.0]) if name != SEEN else None
        precision = self._random.choice([None, *PRECISIONS])
        return BankChanged(bank=name, edit=edit, action=action, enable_ratio=ratio, precision=precision)

    def _reference(self, now: int) -> Record:
        edit = self._random.choice([*ReferenceEdit, ReferenceEdit.SET, ReferenceEdit.ADD])
        until = self._random.choice([None, None, 0, now + 100_000, FOREVER_MS])
        name, item = self._random.choice(self._banks), self._random.choice(self._ids)
        asked = [ask for one in self._asked[-3:] for ask in one.asks if ask.bank != SEEN]
        if asked and self._random.random() < 0.5:
            ask = self._random.choice(asked)
            name, item = ask.bank, ask.reference
        return ReferenceChanged(bank=name, id=item, edit=edit, disabled_until_ms=until)

    def _review(self, _now: int) -> Record:
        outcome = self._random.choice([*Outcome, Outcome.NOT_A_MATCH])
        places = [(asked.id, ask.bank, ask.reference) for asked in self._asked[-3:] for ask in asked.asks]
        places += self._listed[-10:]
        if self._reviewed and self._random.random() < 0.3:
            item, bank, reference = self._random.choice(self._reviewed)
        elif places and self._random.random() < 0.8:
            item, bank, reference = self._random.choice(places)
        else:
            item, bank, reference = self._random.choice(self._ids), SEEN, self._random.choice(self._ids)
        self._reviewed.append((item, bank, reference))
        return Reviewed(item=item, reference=reference, bank=bank, outcome=outcome)

    def _cluster(self, _now: int) -> Record:
        item, into = self._random.choice(self._ids), self._random.choice(self._ids)
        return ClusterEdited(item=item, edit=self._random.choice([*ClusterEdit]), into=into)

    def _calibrate(self, _now: int) -> Record:
        bank = self._random.choice([SEEN, *self._banks])
        return Calibrated(bank=bank, calibration=self._random.choice([*ENCODED.values()]))


def cuts(seed: int, length: int) -> Iterator[int]:
    """Yield sizes of batches."""
    chosen = random.Random(f"cuts of {seed}")
    most = chosen.choice([1, 4, 50])
    left = length
    while left > 0:
        size = min(left, chosen.randint(1, most))
        left -= size
        yield size
