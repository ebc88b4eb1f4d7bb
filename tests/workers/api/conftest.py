from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.match.build import picture
from tests.workers.api.build import Api, an_api


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    """Items at 0 and 5 degrees, a cluster, and at 60 and 120 degrees."""
    records = [picture("a", 0), picture("a2", 5), picture("b", 60), picture("c", 120)]
    with an_api(tmp_path, records) as running:
        yield running
