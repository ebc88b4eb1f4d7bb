from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.index import Index, IndexOptions, drop_indexes, make_index
from neardup.pipeline.index.exact import Exact
from neardup.pipeline.index.factory import PROPOSERS
from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.milvus.server import Server
from neardup.pipeline.index.scann.proposer import ScannProposer
from neardup.pipeline.index.vectors import VectorFile
from neardup.pipeline.settings import Settings
from tests.timing import LATE_SECONDS

D = 16


def made(kind: str, folder: Path | None = None, scann_from: int = 0, device: str = "cpu", owner: bool = True) -> Index:
    vectors = VectorFile(None, D, "s")
    vectors.append(np.arange(300), np.repeat(np.eye(D, dtype=np.float32), 20, axis=0)[:300])
    return make_index(vectors, "seen", IndexOptions(kind, folder, device, scann_from, owner))


def test_without_scann_its_kind_is_refused_and_auto_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scann.scann_ops.py", None)
    with pytest.raises(ConfigError, match="Linux only"):
        made("scann")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "scann" else object())
    assert isinstance(made("auto").proposer, Exact)


def test_the_kind_is_chosen_by_name() -> None:
    assert isinstance(made("exact").proposer, Exact)
    for kind in ("auto", "scann"):
        assert isinstance(made(kind).proposer, ScannProposer)
    with pytest.raises(ConfigError, match="index is 'hnsw': NEARDUP_INDEX is one of auto, exact, scann, milvus"):
        made("hnsw")
    with pytest.raises(ConfigError, match="device 'gpu': expected auto, cpu, or cuda"):
        made("exact", device="gpu")


def test_milvus_needs_an_address_and_asks_nobody_until_there_are_enough_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="NEARDUP_MILVUS says where it is"):
        made("milvus")
    settings = Settings(index="milvus", milvus="http://127.0.0.1:1", milvus_token="root:secret")  # type: ignore[call-arg]
    assert settings.own_index == "auto"
    assert "secret" not in repr(settings.milvus_options)
    vectors = VectorFile(None, D, "s")
    vectors.append(np.arange(2), np.eye(2, D, dtype=np.float32))
    index = make_index(vectors, "seen", IndexOptions("milvus", milvus=settings.milvus_options))
    index.add(np.arange(2))
    index.settle(1, leads=True)
    assert index.ready()
    assert index.search(np.eye(1, D, dtype=np.float32), 1).ids.tolist() == [[0]]
    index.close()
    with pytest.raises(ConfigError, match="milvus_index is 'ANNOY': expected one of SCANN, HNSW"):
        make_index(vectors, "seen", IndexOptions("milvus", milvus=MilvusOptions("http://a", index="ANNOY")))
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(ConfigError, match="scripts/environment milvus"):
        make_index(vectors, "seen", IndexOptions("milvus", milvus=settings.milvus_options))


def test_what_a_shared_engine_has_of_lost_indexes_is_deleted_beside(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dropped, all_tried = list[str](), threading.Event()

    def drop(server: Server) -> None:
        dropped.append(server.collection)
        if len(dropped) == 2:
            raise DependencyError("Milvus does not drop a collection: unavailable")

    monkeypatch.setattr(Server, "drop", drop)
    monkeypatch.setattr(Server, "close", lambda _: all_tried.set())
    vectors, options = VectorFile(None, D, "s"), MilvusOptions("http://127.0.0.1:1")
    drop_indexes(vectors, IndexOptions("exact", milvus=options), ["bank-a"])
    drop_indexes(vectors, IndexOptions("milvus", milvus=options), [])
    drop_indexes(vectors, IndexOptions("milvus", milvus=options), ["bank-a", "bank-b", "bank-c"])
    assert all_tried.wait(LATE_SECONDS)
    assert dropped == [Server(options, name, "s", D).collection for name in ("bank-a", "bank-b")]
    assert "not dropped" in caplog.text


def test_the_description_of_the_setting_names_every_kind() -> None:
    description = Settings.model_fields["index"].description or ""
    assert [name for name in ("auto", *PROPOSERS) if name not in description] == []


def test_the_size_from_which_scann_is_used_can_be_set(tmp_path: Path) -> None:
    index = made("auto", tmp_path, scann_from=300)
    assert isinstance(index.proposer, ScannProposer)
    index.add(np.arange(299))
    assert not index.proposer.is_building
    index.add(np.array([299]))
    assert index.proposer.is_building
    index.close()
    with pytest.raises(ConfigError, match="scann_from is 255: ScaNN needs 256"):
        made("auto", scann_from=255)


def test_only_the_owner_checks_what_the_engine_misses() -> None:
    assert made("exact")._canary is not None
    assert made("exact", owner=False)._canary is None


def test_importing_the_package_loads_neither_torch_nor_scann() -> None:
    code = "import sys, neardup.pipeline.index; sys.exit(any(m in sys.modules for m in ('torch', 'scann')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
