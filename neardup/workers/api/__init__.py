"""The API worker: lookups, items, banks, reviews and the feed over HTTP, and the pages that use them.

    neardup worker api

It answers from a view of its own, which follows the log, so that several can run side by side and none slows the match
worker. It writes nothing but records: of `media`, and of the log. Start reading at `app`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from neardup.pipeline.settings import Settings
    from neardup.workers.run.runner import Worker


def connector(settings: Settings) -> Callable[[], Worker]:
    """Return what connects an API worker, for `runner.run_worker`; the server listens from now on.

    Raises:
        ConfigError: the model, the tokens or the address cannot be used.
    """
    from neardup.workers.api.server import connector as connect

    return connect(settings)
