"""What a webhook sends, how it is signed, and how it is sent.

Signed as Standard Webhooks has it (https://www.standardwebhooks.com, version 1.0.0), so that receivers find a library:
HMAC-SHA256 of "id.timestamp.body", in Base64. The id stays the same however often an event is sent. Addresses are
denied as for what workers fetch: https only, no redirects, no host with a private address, unless that is allowed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import http.client
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from urllib.parse import SplitResult, urlsplit

import msgspec

from neardup.pipeline.errors import ConfigError, InvalidFrame
from neardup.pipeline.media.hosts import begin, cut_after, open_connection
from neardup.pipeline.settings import Settings
from neardup.pipeline.store.interface import FeedEntry
from neardup.workers.run.tracing import HEADER

PREFIX = "whsec_"
TYPE = "item.flagged"
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
"""As the standard asks."""
_NOT_TOLD = ("type", "head", "quiet")
"""How it is distinguished from other records, a cluster that reviews may change, whether it was history."""
_MOST_READ = 2**16
_SETTING = "NEARDUP_WEBHOOK_PRIVATE"
_encode = msgspec.json.Encoder().encode


class DeliveryRefused(Exception):
    """A receiver did not take an event.

    Attributes:
        pause_seconds: that it asked to be left alone for; 0 if it did not say.
    """

    def __init__(self, why: str, pause_seconds: float = 0.0) -> None:
        super().__init__(why)
        self.pause_seconds = pause_seconds


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event as it is sent: the same bytes each time.

    Attributes:
        traceparent: of the item, for those who trace on from here; not signed, "" for most.
    """

    id: str
    body: bytes
    traceparent: str = ""


def make_delivery(entry: FeedEntry, space: str, traceparent: str = "", tenant: str = "") -> Delivery:
    """Return what is sent of an entry of the feed. An id has no full stop: that parts what is signed.

    Events of two tenants have different ids, since a receiver passes over an id that it has seen.
    """
    when = datetime.fromtimestamp(entry.at_ms / 1000, timezone.utc).isoformat(timespec="milliseconds")
    verdict = {name: value for name, value in msgspec.to_builtins(entry.verdict).items() if name not in _NOT_TOLD}
    matches = [match.in_full() for match in entry.verdict.matches]
    whose = {"tenant": tenant} if tenant else {}
    data = {"event": entry.event, "space": space, **whose, "retro": entry.retro, **verdict, "matches": matches}
    body = _encode({"type": TYPE, "timestamp": when.replace("+00:00", "Z"), "data": data})
    place = f"{space}_{entry.event.replace('.', '_')}"
    return Delivery(f"{tenant}_{place}" if tenant else place, body, traceparent)


def sign(delivery: Delivery, secrets: Sequence[bytes], now: float) -> dict[str, str]:
    """Return the headers that prove where a delivery comes from; a signature for each secret.

    Args:
        now: seconds since 1970.
    """
    timestamp = str(int(now))
    signed = f"{delivery.id}.{timestamp}.".encode() + delivery.body
    digests = [hmac.new(secret, signed, hashlib.sha256).digest() for secret in secrets]
    return {
        "webhook-id": delivery.id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests),
    }


def read_secrets(text: str) -> list[bytes]:
    """Return the secrets of a setting.

    Raises:
        ConfigError: there is none, or one is not as the standard has them; it is not shown.
    """
    secrets = []
    for number, one in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        try:
            secret = base64.b64decode(one.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not one.startswith(PREFIX) or not MIN_SECRET_BYTES <= len(secret) <= MAX_SECRET_BYTES:
            raise ConfigError(
                f"webhook_secrets: number {number} is none; wanted {PREFIX} and {MIN_SECRET_BYTES} to "
                f'{MAX_SECRET_BYTES} bytes in Base64: echo "{PREFIX}$(openssl rand -base64 32)"'
            )
        secrets.append(secret)
    if not secrets:
        raise ConfigError(f'webhook_secrets is empty; make one by: echo "{PREFIX}$(openssl rand -base64 32)"')
    return secrets


class Receiver:
    """Where events go, over one connection as long as it holds.

    Raises:
        ConfigError: there is no URL, or one that is not allowed.
    """

    def __init__(self, url: str, secrets: Sequence[bytes], seconds: float, private: bool) -> None:
        self._parts = _checked(url, private)
        self._secrets = secrets
        self._seconds = seconds
        self._private = private
        self._connection: http.client.HTTPConnection | None = None

    @property
    def host(self) -> str:
        """Its name, for logs: the rest of a URL may hold a secret."""
        return self._parts.hostname or ""

    def send(self, delivery: Delivery, now: float) -> None:
        """Return when the receiver has said that it has the event.

        Raises:
            DeliveryRefused: it has not, or it is not known.
        """
        held = self._connection is not None
        try:
            try:
                self._send(delivery, now)
            except ConnectionError:
                if not held:
                    raise
                self.close()  # the receiver had closed what was held, as it may
                self._send(delivery, now)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            late = isinstance(error, TimeoutError)
            told = f"no answer within {self._seconds:g} s" if late else f"{type(error).__name__}: {error}"
            raise DeliveryRefused(told) from error
        except InvalidFrame as error:
            raise DeliveryRefused(error.detail) from error

    def close(self) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send(self, delivery: Delivery, now: float) -> None:
        fresh = self._connection is None
        connection = self._connection = self._connection or open_connection(
            self._parts, self._seconds, self._private, _SETTING
        )
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        headers = {"Content-Type": "application/json", "User-Agent": "neardup", **sign(delivery, self._secrets, now)}
        if delivery.traceparent:
            headers[HEADER] = delivery.traceparent
        with cut_after(connection, self._seconds):
            if fresh:
                begin(connection)
            connection.request("POST", target, delivery.body, headers)
            answer = connection.getresponse()
            answer.read(_MOST_READ)
            whole = answer.isclosed()
        if answer.will_close or not whole:
            self.close()
        if not 200 <= answer.status < 300:
            raise DeliveryRefused(f"status {answer.status}", _pause(answer))


def make_receiver(settings: Settings) -> Receiver:
    """Return the receiver that the settings name.

    Raises:
        ConfigError: see `Receiver` and `read_secrets`.
    """
    url = settings.webhook_url.get_secret_value()
    if not url:
        raise ConfigError("webhook_url is empty; name where events are to be sent, such as https://example.org/hook")
    secrets = read_secrets(settings.webhook_secrets.get_secret_value())
    return Receiver(url, secrets, settings.webhook_seconds, settings.webhook_private)


def _checked(url: str, private: bool) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise ConfigError(f"webhook_url is no URL: {error}") from None
    if not parts.hostname or "@" in parts.netloc or parts.fragment or not url.isascii() or " " in url:
        raise ConfigError(
            "webhook_url is no URL of a host, such as https://example.org/hook; without user and fragment"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and private):
        raise ConfigError(f"webhook_url is of {parts.scheme or 'no scheme'}; wanted https; http only with {_SETTING}")
    return parts


def _pause(answer: http.client.HTTPResponse) -> float:
    """Return the seconds that an answer asks to wait."""
    with suppress(ValueError):
        return max(0.0, float(answer.headers.get("Retry-After", "0")))
    return 0.0
