"""Files of items that were taken down go from the blob store, also those that are written late.

So do packs of references that a bank lost.

The flag worker erases before Redis notes that an envelope was applied, so nothing is left out by a crash; to erase what
is gone does no harm. A worker that has an item in flight while it is taken down may still store its thumbnail; but then
its record follows in the log, is ignored there, and that is the moment to erase again. Or it fails and becomes a dead
letter, which is such a moment, too (`dead_letters.letters.Noting`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from neardup.pipeline.log.changes import BankChanged, BankEdit, ReferenceChanged
from neardup.pipeline.log.reasons import IgnoredReason
from neardup.pipeline.log.records import Changed, Envelope, Ignored, Referenced, RemovedEvent, Unreferenced
from neardup.pipeline.media.blobs import Blobs

_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Gone:
    """What is to be erased: ids of items; packs of references, by bank and id; those of whole banks.

    Attributes:
        copied: references that were made of uploads: bank, id, hash of the content. Their packs stay when uploads go.
    """

    items: frozenset[str] = frozenset()
    references: frozenset[tuple[str, str]] = frozenset()
    banks: frozenset[str] = frozenset()
    copied: frozenset[tuple[str, str, str]] = frozenset()


def gone(envelopes: Sequence[Envelope]) -> Gone:
    """Return what envelopes say is gone: items taken down or of which a late record was ignored, references, banks.

    What a bank got again within the same envelopes stays.
    """
    items, references, banks = set[str](), set[tuple[str, str]](), set[str]()
    copied = set[tuple[str, str, str]]()
    for envelope in envelopes:
        added = any(isinstance(one, Changed) and isinstance(one.record, ReferenceChanged) for one in envelope.events)
        copied |= {
            (one.bank, one.id, one.sha256.hex()) for one in envelope.events if added and isinstance(one, Referenced)
        }
    for event in (event for envelope in envelopes for event in envelope.events):
        match event:
            case RemovedEvent(id=id) | Ignored(id=id, ignored_for=IgnoredReason.TAKEN_DOWN):
                items.add(id)
            case Unreferenced(id=id, bank=bank):
                references.add((bank, id))
            case Referenced(id=id, bank=bank):
                references.discard((bank, id))
                banks.discard(bank)
            case Changed(record=BankChanged(bank=bank, edit=BankEdit.DELETE), refused_for=None):
                banks.add(bank)
    return Gone(frozenset(items), frozenset(references), frozenset(banks), frozenset(copied))


def erase(blobs: Blobs, what: Gone) -> int:
    """Remove all files of what is gone, and return how many those of items and references were.

    Packs that references take from uploads are copied first.

    Raises:
        DependencyError: the blob store failed; some may be left.
    """
    work: list[Callable[[], object]] = [partial(blobs.erase, id) for id in what.items]
    work += [partial(blobs.erase_reference, *one) for one in what.references]
    work += [partial(blobs.erase_bank, bank) for bank in what.banks]
    for one in what.copied:
        blobs.copy_pack(*one)
    if not work:
        return 0
    with ThreadPoolExecutor(min(len(work), _AT_ONCE), thread_name_prefix="erase") as pool:
        return sum(count for count in pool.map(lambda one: one(), work) if isinstance(count, int))
