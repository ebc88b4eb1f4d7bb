"""Cookies of people who logged in: no token is in them, and any API worker with the same secret knows them.

A cookie holds when it ends, a random part, and an HMAC-SHA256 of both and of the hash of the token that it was made
for. So nothing is kept of it, and it ends with the token. Without a secret by setting, the workers of a machine share
one in their state folder.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.settings import Settings

logger = logging.getLogger(__name__)
SESSION_SECONDS = 30 * 86_400
MIN_SECRET_BYTES = 32
_COOKIE = re.compile(r"(([0-9]{1,12})\.[A-Za-z0-9_-]{22})\.([0-9a-f]{64})")


class Sessions:
    """Makes cookies and knows them again.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, secret: bytes, clock: Callable[[], float] = time.time) -> None:
        self._secret = secret
        self._clock = clock

    def make(self, digest: str) -> str:
        """Return a cookie for the token with this hash."""
        payload = f"{int(self._clock()) + SESSION_SECONDS}.{secrets.token_urlsafe(16)}"
        return f"{payload}.{self._sign(payload, digest)}"

    def is_of(self, cookie: str, digest: str) -> bool:
        """Return whether a cookie was made for the token with this hash, and has not ended."""
        found = _COOKIE.fullmatch(cookie)
        if found is None or int(found[2]) <= self._clock():
            return False
        return hmac.compare_digest(found[3], self._sign(found[1], digest))

    def _sign(self, payload: str, digest: str) -> str:
        return hmac.new(self._secret, f"{payload}.{digest}".encode(), hashlib.sha256).hexdigest()


def open_sessions(settings: Settings) -> Sessions:
    """Return the sessions that all API workers with this setting, or this state folder, share.

    Raises:
        ConfigError: the secret is too short.
    """
    given = settings.api_session_secret.get_secret_value()
    place = "api_session_secret"
    if not given:
        file = settings.state_path / "session-secret"
        place = str(file)
        try:
            given = _kept(file)
        except OSError as error:
            logger.warning("sessions end with this process: no secret is kept file=%s error=%s", file, error)
            return Sessions(secrets.token_bytes(MIN_SECRET_BYTES))
    if len(given.encode()) < MIN_SECRET_BYTES:
        raise ConfigError(f"{place} has {len(given.encode())} bytes, wanted {MIN_SECRET_BYTES} or more at random")
    return Sessions(given.encode())


def _kept(file: Path) -> str:
    """Return the secret in a file that only its owner reads; made where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        new = file.with_name(f".{file.name}-{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as made:
                made.write(secrets.token_urlsafe(MIN_SECRET_BYTES))
            with suppress(FileExistsError):  # another worker was first
                os.link(new, file)
        finally:
            new.unlink(missing_ok=True)
    return file.read_text(encoding="ascii", errors="replace").strip()
