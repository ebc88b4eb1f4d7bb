"""Certificates of a test's own, and a proxy that ends TLS before a server that has none."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def make_authority(folder: Path, name: str) -> None:
    """Write NAME.pem and NAME.key, which sign others."""
    words = ["-x509", "-days", "2", "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.pem"]
    _openssl(folder, "req", *_NEW_KEY, *words)


def make_certificate(folder: Path, name: str, extension: str) -> None:
    """Write NAME.pem and NAME.key, signed by the authority `ca`."""
    _openssl(folder, "req", *_NEW_KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    (folder / "extensions").write_text(extension)
    by = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions"]
    _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *by)


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


class TlsProxy:
    """Passes what it decrypts to a server, as gRPC needs it: HTTP/2 is agreed upon with TLS.

    Attributes:
        uri: https://localhost and its port. agreed: the protocol of each connection that was made.
    """

    def __init__(self, server: str, certificate: Path, key: Path) -> None:
        parts = urlsplit(server)
        self._server = parts.hostname, parts.port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._context.set_alpn_protocols(["h2"])
        self._loop = asyncio.new_event_loop()
        self._begun, self._end = threading.Event(), asyncio.Event()
        self.uri, self.agreed = "", list[str | None]()

    @contextmanager
    def running(self) -> Iterator[TlsProxy]:
        """Serve while the context lasts."""
        thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        thread.start()
        assert self._begun.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            thread.join(10)
            self._loop.close()

    async def _serve(self) -> None:
        listening = await asyncio.start_server(self._connected, "localhost", 0, ssl=self._context)
        self.uri = f"https://localhost:{listening.sockets[0].getsockname()[1]}"
        self._begun.set()
        await self._end.wait()
        listening.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await asyncio.sleep(0.1)  # transports close by callbacks

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.agreed.append(writer.get_extra_info("ssl_object").selected_alpn_protocol())
        inner_reader, inner_writer = await asyncio.open_connection(*self._server)
        try:
            with suppress(asyncio.CancelledError):
                await asyncio.gather(_pass(reader, inner_writer), _pass(inner_reader, writer))
        finally:
            for one in (writer, inner_writer):
                one.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()
