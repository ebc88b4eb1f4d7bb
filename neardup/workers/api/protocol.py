"""uvicorn's HTTP/1.1 with time limits: for clients that open a connection and send nothing, send endless headers or do
not read the answer. A request that is no valid HTTP is answered by a problem document, too.

There is always room for one more connection: where there are too many, the one is closed that has been without a
request for longest. Where all of them have one, a few more are let in, and the gate answers health checks and
administrators alone.

A request is the gate's matter only once its headers are complete; until then, this is all that stands before memory.
"""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from neardup.workers.api.problems import KINDS, MEDIA_TYPE, Problem

HEAD_SECONDS = 10.0
HEAD_BYTES = 64 * 2**10
STALL_SECONDS = 20.0
MOST = 800
_SPARE = 32
"""Connections beyond the most, where none of those is without a request."""


class Impatient(HttpToolsProtocol):
    """One connection.

    Attributes:
        head_seconds: that the headers of a request may take, from the connection or the request's first byte on.
        head_bytes: that they may have.
        stall_seconds: that a client may leave a part of the answer unread.
        most: connections at once.
    """

    head_seconds = HEAD_SECONDS
    head_bytes = HEAD_BYTES
    stall_seconds = STALL_SECONDS
    most = MOST

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._deadline: asyncio.TimerHandle | None = None
        self._head = 0
        self._within_head = False
        self._stall: asyncio.TimerHandle | None = None
        self._silent_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self._silent_since = self.loop.time()
        if len(self.connections) > self.most:
            self._make_room()
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end_of_head()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        if self._within_head:
            self._head += len(data)
            if self._head > self.head_bytes:
                self._refuse("head-too-large", f"the headers have more than {self.head_bytes} bytes")
        if self._deadline is None and (self._within_head or self._is_idle()):
            self._expect_head()  # with data, uvicorn no longer waits for the end of an idle connection

    def on_message_begin(self) -> None:
        """See httptools."""
        self._within_head, self._head = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._end_of_head()
        self._within_head = False
        self.scope["neardup.crowded"] = len(self.connections) > self.most  # type: ignore[typeddict-unknown-key]
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """See HttpToolsProtocol."""
        self._silent_since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.stall_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; the connection ends."""
        self._refuse("malformed", msg)

    def _make_room(self) -> None:
        """Close the connection that has been silent for longest; or this one, where none is and no more are let in."""
        others = (
            one for one in self.connections if isinstance(one, Impatient) and one is not self and one._is_silent()
        )
        silent = min(others, key=lambda one: one._silent_since, default=None)
        if silent is not None:
            silent.transport.abort()
            self.connections.discard(silent)  # it would count until the loop comes to it
        elif len(self.connections) > self.most + _SPARE:
            self.transport.abort()

    def _is_silent(self) -> bool:
        return self._is_idle() and not self.transport.is_closing()

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(self.head_seconds, self._too_slow)

    def _end_of_head(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _too_slow(self) -> None:
        if self.cycle is not None and not self._within_head:
            self.transport.close()  # it had its answer, and goes on with what is no request
            return
        self._refuse("timeout", f"the headers were not there after {self.head_seconds:g} s")

    def _refuse(self, kind: str, detail: str) -> None:
        """Answer without the app, and end the connection."""
        self._end_of_head()
        if self.transport.is_closing():
            return
        body = json.dumps(Problem(kind, detail).body()).encode()
        status = HTTPStatus(KINDS[kind].status)
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
