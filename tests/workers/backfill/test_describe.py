"""Parts become shards, each whole or not at all; the network is a stand-in."""

from __future__ import annotations

import pickle
import shutil
import tarfile
import tempfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.archive.plan import shard_of, unfinished, write_plan
from neardup.pipeline.archive.row import Row
from neardup.pipeline.archive.shard import Counts, reading, shard_names
from neardup.pipeline.describe import choose
from neardup.pipeline.describe.decode import Look
from neardup.pipeline.describe.orders import Setup
from neardup.pipeline.describe.threads import ThreadDescriber
from neardup.pipeline.errors import ConfigError, DependencyError, NoRoom, Reason
from neardup.pipeline.prove.pack import read_pack
from neardup.pipeline.settings import Settings
from neardup.workers.backfill import contents, describe
from neardup.workers.backfill.contents import Item
from neardup.workers.backfill.describe import Engine, Finished, Job, make_conditions, make_job, open_engine
from neardup.workers.backfill.sources import Columns, Sources
from tests.pipeline.scan.build import SIZE, StandIn, a_checkpoint

SETTINGS = Settings(threads=2, thumbnail_side=40)


def some_pictures(folder: Path, count: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        cells = np.random.default_rng(number).integers(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(cells).resize((64, 48), Image.Resampling.NEAREST).save(folder / f"{number:03}.png")
    return folder


def planned(output: Path, *sources: Path, most: int = 4) -> Job:
    folder = Folder(str(output))
    named = Sources([str(source) for source in sources], Columns())
    conditions = msgspec.structs.replace(make_conditions(a_checkpoint(), SETTINGS, pictures=True), dimension=64)
    write_plan(folder, named.parts(most), named.names, conditions, lambda _: None)
    return make_job(folder, conditions, SETTINGS, named.names)


class Noting(ThreadDescriber[Item]):
    """Notes what it is given."""

    tried: list[str]

    def add(self, source: Item) -> None:
        self.tried.append(source.row.id)
        super().add(source)


def engine(job: Job, tried: list[str] | None = None) -> Engine:
    look = Look(SIZE, job.conditions.limits, thumbnail_side=job.conditions.thumbnail_side)
    describer = Noting(StandIn, look, 2, 8, 0.05)
    describer.tried = [] if tried is None else tried
    return Engine(job, describer, 16)


def described(job: Job) -> list[Finished]:
    with closing(engine(job)) as one:
        return [finished for finished in one.describe(unfinished(job.folder)) if finished is not None]


def rows_of(job: Job) -> dict[str, Row]:
    found: list[Row] = []
    for name in shard_names(job.folder):
        with reading(job.folder, name, job.conditions.space) as shard:
            found += shard.rows(pictures=True)
    assert len({row.id for row in found}) == len(found)
    return {row.id: row for row in found}


def test_every_item_becomes_a_row_with_its_pictures_or_a_reason(tmp_path: Path) -> None:
    pictures = some_pictures(tmp_path / "p", 10)
    (pictures / "note.txt").write_bytes(b"no picture")
    (pictures / "gone.png").symlink_to("nowhere")
    job = planned(tmp_path / "out", pictures)
    finished = described(job)
    assert sum((one.counts for one in finished), Counts()) == Counts(items=12, failed=2)
    assert sorted(one.name for one in finished) == shard_names(job.folder)
    rows = rows_of(job)
    assert {id: row.error.reason for id, row in rows.items() if row.error} == {
        "note.txt": Reason.FORMAT, "gone.png": Reason.NOT_A_FILE,
    }  # fmt: skip
    row = rows["003.png"]
    [record] = row.records()
    assert (record.id, record.width, record.height, record.sha256) == ("003.png", 64, 48, row.sha256)
    assert row.thumbnail[:2] == b"\xff\xd8"
    assert read_pack(row.pack).width == 64
    assert row.time_ns == (pictures / "003.png").stat().st_mtime_ns


def test_what_is_there_is_not_done_again(tmp_path: Path) -> None:
    job = planned(tmp_path / "out", some_pictures(tmp_path / "p", 10))
    with closing(engine(job)) as one, closing(one.describe(unfinished(job.folder))) as finished:
        first = next(one for one in finished if one is not None)  # and then it is interrupted
    assert first.name in shard_names(job.folder)
    left = {shard_of(file) for file in unfinished(job.folder)}
    assert first.name not in left
    assert {one.name for one in described(job)} == left
    assert len(rows_of(job)) == 10
    assert described(job) == []


def test_tars_that_fit_on_the_disk_one_by_one_are_described_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(contents, "_COPY_BYTES", 2**12)
    pictures, room = some_pictures(tmp_path / "p", 2), 20 * 2**10
    sources = [tmp_path / f"{number}.tar.gz" for number in range(5)]
    for source in sources:
        with tarfile.open(source, "w:gz") as tar:
            tar.add(pictures / "000.png", "0.png")
            tar.add(pictures / "001.png", "1.png")

    def usage(_: str) -> Any:  # two copies are more than there is room for
        used = sum(file.stat().st_size for file in (tmp_path / "temporary").glob("*.tar"))
        return shutil._ntuple_diskusage(room, used, room - used)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    copied: list[str] = []
    opened = contents.opened
    monkeypatch.setattr(contents, "opened", lambda uri: (copied.append(uri), opened(uri))[1])
    job = planned(tmp_path / "out", *sources)
    assert len(described(job)) == 5
    assert len(rows_of(job)) == 10
    assert len(copied) > 5  # some had to be put off
    room = 2**10
    with pytest.raises(NoRoom, match=r"0.tar.gz needs a copy"):
        described(planned(tmp_path / "other", *sources))


def test_members_of_tars_and_rows_of_parquet_are_described(tmp_path: Path) -> None:
    pictures = some_pictures(tmp_path / "p", 3)
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        tar.add(pictures, "d")
    contents = [(pictures / f"00{number}.png").read_bytes() for number in range(3)]
    pq.write_table(pa.table({"content": contents, "id": ["x", "y", "z"]}), tmp_path / "t.parquet", row_group_size=2)
    job = planned(tmp_path / "out", pictures, tmp_path / "t.tar", tmp_path / "t.parquet")
    assert len(described(job)) == 4
    rows = rows_of(job)
    assert rows.keys() == {
        *("p/000.png", "p/001.png", "p/002.png"), *("t.tar/d/000.png", "t.tar/d/001.png", "t.tar/d/002.png"),
        *("x", "y", "z"),
    }  # fmt: skip
    one, other, third = (rows[id].records()[0] for id in ("p/001.png", "t.tar/d/001.png", "y"))
    assert one.vectors == other.vectors == third.vectors
    assert one.sha256 == other.sha256 == third.sha256


def test_an_item_that_cannot_be_fetched_is_tried_again_and_is_a_row_then(tmp_path: Path) -> None:
    pictures = some_pictures(tmp_path / "p", 2)
    there = [path.as_uri() for path in sorted(pictures.iterdir())]
    pq.write_table(pa.table({"uri": [(pictures / "gone.png").as_uri(), *there]}), tmp_path / "t.parquet")
    job = planned(tmp_path / "out", tmp_path / "t.parquet", pictures)
    tried: list[str] = []
    with closing(engine(job, tried)) as one:
        list(one.describe(unfinished(job.folder)))
    failed = {id: row.error.reason for id, row in rows_of(job).items() if row.error}
    assert failed == {"t.parquet/0": Reason.FETCH}
    assert (tried.count("t.parquet/0"), tried.count("t.parquet/1")) == (3, 1)


def test_a_part_of_which_nothing_can_be_fetched_leaves_no_shard(tmp_path: Path) -> None:
    pq.write_table(pa.table({"uri": [f"http://192.0.2.9/{n}.jpg" for n in range(12)]}), tmp_path / "t.parquet")
    job = planned(tmp_path / "out", tmp_path / "t.parquet")
    with pytest.raises(DependencyError, match=r"none of 12 items of a part can be fetched; .*NEARDUP_FETCH_ALLOW"):
        described(job)
    assert shard_names(job.folder) == []


def test_a_machine_with_another_model_or_without_the_source_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = some_pictures(tmp_path / "p", 1)
    job = planned(tmp_path / "out", pictures)
    with pytest.raises(ConfigError, match="was described in the space"):
        open_engine(job)
    monkeypatch.setattr(describe, "load_checkpoint", lambda _: a_checkpoint())
    pictures.rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match="p does not exist on this machine; mount it under the same path"):
        open_engine(job)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_processes_feed_the_network_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, on_gpu: bool) -> None:
    shared: list[bool] = []

    class Started(ThreadDescriber[Item]):
        def __init__(self, count: int, setup: Setup, share: object = None) -> None:
            super().__init__(StandIn, setup.look, count, 8, 0.05)
            shared.append(share is not None)

    monkeypatch.setattr(describe, "ProcessDescriber", Started)
    monkeypatch.setattr(choose, "is_on_gpu", lambda _: on_gpu)
    monkeypatch.setattr(describe, "load_checkpoint", lambda _: a_checkpoint())
    job = planned(tmp_path / "out", some_pictures(tmp_path / "in", 1))
    open_engine(replace(job, processes=2)).close()
    assert shared == [on_gpu]


def test_a_job_says_nothing_that_is_secret(tmp_path: Path) -> None:
    settings = Settings(redis="redis://:swordfish@h/0", kafka_sasl_password="swordfish")  # type: ignore[arg-type]
    job = make_job(Folder(str(tmp_path)), planned(tmp_path, tmp_path).conditions, settings, ())
    assert b"swordfish" not in pickle.dumps(job)


def test_only_so_many_parts_are_open_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describe, "_MOST_OPEN", 3)
    job = planned(tmp_path / "out", some_pictures(tmp_path / "p", 12), most=1)
    is_open, most = 0, 0

    class Counted(describe._Work):
        def __init__(self, *arguments: Any) -> None:
            nonlocal is_open, most
            super().__init__(*arguments)
            is_open += 1
            most = max(most, is_open)

        def finish(self) -> Finished:
            nonlocal is_open
            is_open -= 1
            return super().finish()

    monkeypatch.setattr(describe, "_Work", Counted)
    assert len(described(job)) == 12
    assert (most, is_open) == (3, 0)
