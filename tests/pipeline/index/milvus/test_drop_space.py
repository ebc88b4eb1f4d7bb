from __future__ import annotations

from typing import Any

import pytest

from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.milvus.server import Server, _name, drop_space


def test_only_the_collections_of_the_space_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    there = {_name("neardup", name, space) for name in ("seen", "bank-news") for space in ("old", "new")}

    class Client:
        def list_collections(self, **_options: Any) -> list[str]:
            return sorted(there)

        def drop_collection(self, name: str, **_options: Any) -> None:
            there.remove(name)

    monkeypatch.setattr(Server, "_connected", lambda _: Client())
    options = MilvusOptions("http://milvus:19530", "", "", "neardup", "SCANN", 0, 2, 100)
    dropped = drop_space(options, ["seen", "bank-news", "bank-empty"], "old")
    assert dropped == [_name("neardup", name, "old") for name in ("seen", "bank-news")]
    assert there == {_name("neardup", name, "new") for name in ("seen", "bank-news")}
    assert drop_space(options, ["seen"], "old") == []
