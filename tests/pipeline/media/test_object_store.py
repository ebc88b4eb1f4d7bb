from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fsspec.registry import _registry

from neardup.pipeline.archive.folder import Folder
from neardup.pipeline.errors import ConfigError, InvalidFrame
from neardup.pipeline.media.blobs import Blobs
from neardup.pipeline.media.fetch import Rules, fetch
from neardup.pipeline.media.object_store import open_store
from neardup.workers.ingest.objects import Objects


@pytest.mark.parametrize(
    ("url", "package", "install"),
    [
        ("s3://bucket/x", "s3fs", "scripts/environment s3"),
        ("gs://bucket/x", "gcsfs", "scripts/environment gs"),
        ("az://bucket/x", "adlfs", "pip install adlfs"),
    ],
)
def test_a_missing_package_is_named_with_what_installs_it(
    url: str, package: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, url[:2], raising=False)
    wanted = f"needs {package}: {install}"
    for make in (open_store, Blobs, Folder, Objects):
        with pytest.raises(ConfigError, match=f"{url} {wanted}"):
            make(url)
    with pytest.raises(InvalidFrame, match=wanted), fetch(f"{url}.jpg", None, Rules((f"{url}.jpg",))):
        pass


def test_a_folder_is_a_store_and_another_scheme_is_refused(tmp_path: Path) -> None:
    files, root = open_store(tmp_path.as_uri())
    assert files.isdir(root)
    with pytest.raises(ConfigError, match="nowhere://x: "):
        open_store("nowhere://x")
