from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from neardup.pipeline.log.changes import Outcome, Reviewed
from neardup.pipeline.log.records import Described, Matched, Removed, join_parts
from neardup.pipeline.match.data.items import Item
from neardup.pipeline.match.decide.sounds import compare_sounds
from neardup.pipeline.match.query.compare_two import compare_both_ways
from neardup.pipeline.match.query.lookup import compare_stored, lookup
from neardup.pipeline.match.query.stored import described_again
from neardup.pipeline.media.sound import BANDS, SILENT
from neardup.pipeline.types import Decision, Descriptors, Doubt, Exact, Extras
from tests.pipeline.match.build import Film, Log, a_state, at, edited, times, video

FILM = Film(1)
STILL = np.repeat(at(10.0), 41, axis=0)


def digest(seed: int, seconds: int = 20, loudest_db: float = -20.0, hop: int = 1) -> bytes:
    """Return the digest of some sound that lasts so long."""
    levels = np.random.default_rng(seed).integers(0, 16, size=(60, 2, BANDS))[:seconds:hop]
    flat = levels.reshape(-1, 2)
    head = bytes((1, round(-2 * loudest_db), hop.bit_length() - 1))
    return head + (flat[:, 0] << 4 | flat[:, 1]).astype(np.uint8).tobytes()


def sounding(name: str, vectors: Descriptors, sound: bytes, **how: object) -> list[Described]:
    records = video(name, vectors, **how)  # type: ignore[arg-type]
    return [msgspec.structs.replace(one, extras=Extras(sound=sound)) for one in records]


def a_pair(mine: bytes, theirs: bytes, first: Descriptors | None = None, second: Descriptors | None = None) -> Matched:
    """Return how a copy with one sound matches a film with another."""
    film = FILM.at(times(20)) if first is None else first
    log = Log()
    log.add(sounding("film", film, theirs))
    (match,) = log.verdict(*sounding("copy", edited(film) if second is None else second, mine)).matches
    assert compare_stored(log.state, "copy", "film") == match
    return match


@pytest.mark.parametrize(
    ("mine", "theirs", "decision", "doubt"),
    [
        (digest(1), digest(1), Decision.DUPLICATE, Doubt.NO),
        (digest(1), digest(2), Decision.UNSURE, Doubt.OTHER_SOUND),
        (SILENT, digest(2), Decision.UNSURE, Doubt.NO_SOUND),
        (digest(1), SILENT, Decision.UNSURE, Doubt.NO_SOUND),
        (SILENT, SILENT, Decision.DUPLICATE, Doubt.NO),
        (b"", digest(2), Decision.DUPLICATE, Doubt.NO),
        (SILENT, b"", Decision.DUPLICATE, Doubt.NO),
        (SILENT, digest(2, loudest_db=-55.0), Decision.DUPLICATE, Doubt.NO),
        (b"\x09" + digest(1)[1:], digest(1), Decision.DUPLICATE, Doubt.NO),
        (digest(1, 60, hop=2), digest(1, 20), Decision.DUPLICATE, Doubt.NO),
        (digest(1, 60, hop=2), digest(2, 20), Decision.UNSURE, Doubt.OTHER_SOUND),
        (digest(1, 8), digest(1, 20), Decision.UNSURE, Doubt.OTHER_SOUND),
    ],
    ids=[
        "same",
        "other",
        "muted",
        "dubbed",
        "silent",
        "unknown",
        "unknown-too",
        "faint",
        "version",
        "hop",
        "hop-other",
        "cut",
    ],
)
@pytest.mark.parametrize("film", [FILM.at(times(20)), STILL], ids=["moving", "still"])
def test_equal_pictures_with_other_sound_are_unsure(
    film: Descriptors, mine: bytes, theirs: bytes, decision: Decision, doubt: Doubt
) -> None:
    match = a_pair(mine, theirs, film)
    assert (match.decision, match.doubt, match.where.whole) == (decision, doubt, True)
    assert match.probability > 0.9


def test_songs_of_other_length_over_one_cover_are_unsure() -> None:
    match = a_pair(digest(1, 17), digest(2, 20), STILL, STILL[:35])
    assert (match.decision, match.doubt, match.where.whole) == (Decision.UNSURE, Doubt.OTHER_SOUND, True)


def test_of_a_part_and_of_one_that_begins_later_sound_says_nothing() -> None:
    part = a_pair(digest(1, 8), digest(2), second=FILM.at(times(8) + 5))
    assert (part.decision, part.where.whole, part.doubt) == (Decision.DUPLICATE, False, Doubt.NO)
    late = a_pair(digest(1, 18), digest(2), second=FILM.at(times(18) + 2))
    assert (late.decision, late.where.whole, late.doubt) == (Decision.DUPLICATE, True, Doubt.NO)


def test_what_has_other_sound_stands_alone_until_a_reviewer_says_that_it_matches() -> None:
    log = Log()
    log.add(sounding("film", FILM.at(times(20)), digest(1)), sounding("dub", FILM.at(times(20)), digest(2)))
    assert log.head_of("dub") == "dub"
    log.add(Reviewed(item="dub", reference="film", outcome=Outcome.MATCH))
    assert log.head_of("dub") == "film"
    (match, *_) = log.verdict(*sounding("dub again", FILM.at(times(20)), digest(2))).matches
    assert (match.reference, match.decision) == ("film", Decision.UNSURE)


def test_members_of_a_removed_head_stand_together_only_where_they_sound_alike() -> None:
    log = Log()
    log.add(*(sounding(name, FILM.at(times(20)), sound) for name, sound in (("a", b""), ("b", digest(1)))))
    log.add(sounding("c", FILM.at(times(20)), digest(2)), sounding("d", FILM.at(times(20)), digest(1)))
    assert {name: log.head_of(name) for name in "bcd"} == {"b": "a", "c": "a", "d": "a"}
    log.add(Removed(id="a"))
    assert {name: log.head_of(name) for name in "bcd"} == {"b": "b", "c": "c", "d": "b"}


def test_identical_files_are_exact_whatever_is_known_of_their_sound() -> None:
    log = Log()
    log.add(sounding("film", FILM.at(times(20)), digest(1), sha256=b"same"))
    (match,) = log.verdict(*sounding("copy", FILM.at(times(20)), digest(2), sha256=b"same")).matches
    assert (match.decision, match.exact, match.doubt) == (Decision.DUPLICATE, Exact.BYTES, Doubt.NO)


def test_two_alone_and_one_that_is_held_are_compared_by_sound_as_well() -> None:
    a, b = (sounding(name, FILM.at(times(20)), digest(seed)) for seed, name in enumerate("ab"))
    both = compare_both_ways(a, b, a_state)
    assert (both.decision, both.doubt) == (Decision.UNSURE, Doubt.OTHER_SOUND)
    log = Log()
    log.add(a)
    assert described_again(log.state, "a").extras.sound == digest(0)
    ((match,),) = lookup(log.state, [join_parts(b)], 5)
    assert (match.decision, match.doubt) == (Decision.UNSURE, Doubt.OTHER_SOUND)


def test_a_long_video_in_parts_keeps_its_sound() -> None:
    log = Log()
    log.add(sounding("film", FILM.at(times(20)), digest(1), part_size=7))
    (match,) = log.verdict(*sounding("copy", FILM.at(times(20)), digest(2), part_size=10)).matches
    assert match.doubt is Doubt.OTHER_SOUND


def test_a_digest_between_the_borders_never_flips() -> None:
    """Levels of two readings that differ by one step here and there are near, however they are rounded."""
    levels = np.random.default_rng(3).integers(2, 14, size=(20, 2, BANDS))
    noise = np.random.default_rng(4).choice((-1, 0, 1), p=(0.1, 0.8, 0.1), size=levels.shape)

    def packed(some: Sequence[int] | np.ndarray) -> bytes:  # type: ignore[type-arg]
        flat = np.asarray(some).reshape(-1, 2)
        return b"\x01\x28\x00" + (flat[:, 0] << 4 | flat[:, 1]).astype(np.uint8).tobytes()

    assert compare_sounds(packed(levels), packed(levels + noise), (20.0, 20.0), True) is Doubt.NO
    assert compare_sounds(packed(levels), packed(levels + 1), (20.0, 20.0), True) is Doubt.NO  # louder
    assert compare_sounds(packed(levels), packed(levels[::-1]), (20.0, 20.0), True) is Doubt.OTHER_SOUND


def test_a_snapshot_keeps_the_sound_and_one_from_before_knows_of_none() -> None:
    log = Log()
    log.add(sounding("film", FILM.at(times(20)), digest(1)))
    (item,) = log.state.items
    written = msgspec.msgpack.encode(item)
    assert msgspec.msgpack.decode(written, type=Item).sound == digest(1)
    before = {name: value for name, value in msgspec.msgpack.decode(written).items() if name != "sound"}
    assert msgspec.convert(before, Item).sound == b""
