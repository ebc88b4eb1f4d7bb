"""Who calls, and what they may do: bearer tokens with a role, of which only a hash is kept.

A line for each token, `name:role:sha256`, in a file or, with commas between, in a setting. A tenant's has `tenant/`
before the name: of a file that tenants share each takes its own lines, and no others. A token is 32 random bytes,
so a plain hash is safe: there is nothing to guess. The file is read again when it changes; so a line that is removed
is a token that was withdrawn.

Pages send a cookie, see `sessions`: a browser's event stream can send no header. Without any token everyone may do
everything, and the server listens on this machine only.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from neardup.pipeline.errors import ConfigError
from neardup.workers.api.attempts import Attempts
from neardup.workers.api.problems import Problem
from neardup.workers.api.sessions import Sessions

logger = logging.getLogger(__name__)
COOKIE = "neardup_session"
PREFIX = "nd_"
_LINE = re.compile(r"(?:([a-z0-9-]{1,32})/)?([A-Za-z0-9][A-Za-z0-9._@-]{0,63}):(read|review|admin):([0-9a-f]{64})")
_LOOK_SECONDS = 1.0


class Role(IntEnum):
    """What a token may do; each may do what those before it may."""

    READ = 1
    """Look up, and watch the feed."""
    REVIEW = 2
    """Decide on matches, and edit clusters."""
    ADMIN = 3
    """Add and take down items, and change banks."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request: the name of the token stands in the records that follow from it."""

    name: str
    role: Role


ANYONE = Caller("anonymous", Role.ADMIN)
"""Who calls where there are no tokens."""


def make_token() -> str:
    """Return a new token: 256 random bits in letters, digits, - and _."""
    return PREFIX + secrets.token_urlsafe(32)


def line_of(name: str, role: str, token: str, tenant: str = "") -> str:
    """Return the line that admits a token, for a tenant if one is named.

    Raises:
        ConfigError: the name or the role cannot be used.
    """
    found = _LINE.fullmatch(f"{name}:{role}:{_hash(token)}")
    if found is None or found[1] is not None:  # a name with a slash
        raise ConfigError(
            f"token {name[:80]!r}, role {role[:80]!r}: wanted up to 64 of a-z A-Z 0-9 . _ @ - and read, review or admin"
        )
    return f"{tenant}/{found[0]}" if tenant else found[0]


class Tokens:
    """The tokens that are known.

    Args:
        listed: lines with commas between. file: holds one line for each, with # before remarks.
        attempts: limits wrong tokens; by default nothing does.
        tenant: whose lines are taken.
    Attributes:
        required: whether there is a place that names tokens, be it empty by now.
        cookie: name of the cookie of pages, so that a browser may be logged in to two tenants of one host.
    Raises:
        ConfigError: a line is none, or the file cannot be read.
    """

    def __init__(
        self,
        listed: str = "",
        file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        attempts: Attempts | None = None,
        tenant: str = "",
    ) -> None:
        self._tenant = tenant
        self.cookie = f"{COOKIE}_{tenant}" if tenant else COOKIE
        self._sessions = Sessions(secrets.token_bytes(32))
        self._attempts = attempts or Attempts(0.0)
        self.required = bool(listed.strip()) or file is not None
        self._own = _read(listed.split(","), "api_tokens", tenant)
        self._file = file
        self._clock = clock
        self._looked_at = clock()
        self._stamp: tuple[int, int] | None = None
        self._of_file: dict[str, Caller] = {}
        if file is not None:
            self._load(file)

    def find(self, token: str) -> Caller | None:
        """Return whose token it is, in a time that does not depend on how much of it is right."""
        self._look()
        digest, found = _hash(token), None
        for known, caller in (*self._own.items(), *self._of_file.items()):
            if hmac.compare_digest(known, digest):
                found = caller
        return found

    def admit(self, token: str, address: str) -> Caller | None:
        """Return whose token it is that an address presents.

        Raises:
            Problem: it has presented too many that are not known.
        """
        digest = _hash(token)
        if (seconds := self._attempts.wait(address, digest)) > 0:
            after = {"Retry-After": str(math.ceil(seconds))}
            raise Problem("too-many", "too many wrong tokens from this address", headers=after)
        found = self.find(token)
        self._attempts.note(address, digest, found is not None)
        return found

    def keep_sessions(self, sessions: Sessions) -> None:
        """Know sessions that do not end with this process."""
        self._sessions = sessions

    def make_session(self, token: str) -> str:
        """Return a cookie for whom the token is of."""
        return self._sessions.make(_hash(token))

    def find_session(self, cookie: str) -> Caller | None:
        """Return whose cookie it is; it ends with the token that it was made for."""
        self._look()
        found = None
        for known, caller in (*self._own.items(), *self._of_file.items()):
            if self._sessions.is_of(cookie, known):
                found = caller
        return found

    def _look(self) -> None:
        if self._file is None or self._clock() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = self._clock()
        try:
            self._load(self._file)
        except ConfigError as error:  # nobody is let in whose line cannot be seen
            logger.error("tokens cannot be read, none of the file is taken error=%s", error)
            self._of_file, self._stamp = {}, None

    def _load(self, file: Path) -> None:
        try:
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                self._of_file = _read(file.read_text(encoding="utf-8").splitlines(), str(file), self._tenant)
                self._stamp = stamp
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"api_tokens_file: {file}: {error}; make it with `neardup token`") from error


def needs(role: Role) -> Callable[..., Awaitable[Caller]]:
    """Return the dependency of a route that asks for a role; a plain function would go by a thread each time."""

    async def caller(request: Request, _scheme: Annotated[object, Security(_BEARER)]) -> Caller:
        found = who(request)
        if found is None:
            raise Problem("no-token", "no token, or one that is not known")
        if found.role < role:
            raise Problem(
                "forbidden",
                f"this needs the role {role.name.lower()}, the token {found.name} has {found.role.name.lower()}",
            )
        return found

    return caller


def who(request: Request) -> Caller | None:
    """Return who sent a request, None if they have no token that is known."""
    found: Caller | None = request.scope.get("neardup.caller")
    return found


_BEARER = HTTPBearer(auto_error=False, description="a token that `neardup token` made; pages send it as a cookie")
Reader = Annotated[Caller, Depends(needs(Role.READ))]
Reviewer = Annotated[Caller, Depends(needs(Role.REVIEW))]
Admin = Annotated[Caller, Depends(needs(Role.ADMIN))]


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def _read(lines: Iterable[str], where: str, tenant: str) -> dict[str, Caller]:
    """Return the callers of a tenant by the hashes of their tokens."""
    found = {}
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if match is None:
            raise ConfigError(f"{where}, line {number}: wanted name:role:sha256, as `neardup token` prints it")
        if (match[1] or "") == tenant:
            found[match[4]] = Caller(match[2], Role[match[3].upper()])
    return found
