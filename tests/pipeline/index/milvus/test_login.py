"""TLS and the token, by a server that says yes to everything."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.index.milvus.options import MilvusOptions
from neardup.pipeline.index.milvus.server import Server
from tests.integration.tls import make_authority, make_certificate

grpc = pytest.importorskip("grpc")
pytest.importorskip("pymilvus")


class Agreeing(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers each call with an empty message, and notes by name how it was authorised."""

    def __init__(self) -> None:
        self.authorised: dict[str, object] = {}

    def service(self, call: Any) -> Any:
        self.authorised[call.method.rpartition("/")[2]] = dict(call.invocation_metadata).get("authorization")
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[tuple[str, Agreeing]]:
    make_authority(tmp_path, "ca")
    make_certificate(tmp_path, "server", "subjectAltName=DNS:localhost")
    pair = (tmp_path / "server.key").read_bytes(), (tmp_path / "server.pem").read_bytes()
    handler = Agreeing()
    server = grpc.server(ThreadPoolExecutor(4), handlers=(handler,))
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield f"https://localhost:{port}", handler
    server.stop(None).wait(10)


def test_every_call_is_encrypted_and_has_the_token(milvus: tuple[str, Agreeing], tmp_path: Path) -> None:
    uri, handler = milvus
    options = MilvusOptions(uri, token="root:Milvus", ca_file=str(tmp_path / "ca.pem"))
    with closing(Server(options, "seen", "s", 4)) as server:
        server.write(np.arange(2), np.eye(2, 4, dtype=np.float32))
        server.delete(np.arange(2))
        server.search(np.eye(1, 4, dtype=np.float32), 1, 1, 0, None)
    calls = {"Upsert", "Delete", "Search"}
    assert calls <= handler.authorised.keys()
    assert {handler.authorised[call] for call in calls} == {"cm9vdDpNaWx2dXM="}  # root:Milvus in Base64


def test_a_file_of_certificates_that_has_no_effect_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for uri, file, why in (
        ("http://milvus:19530", "ca.pem", "milvus_ca_file is set, and milvus is no URL that encrypts"),
        ("https://milvus:19530", "ca.pem", r"milvus_ca_file is '.*ca\.pem': .*; wanted certificates \(PEM\)"),
        ("https://milvus:19530", "none.pem", r"none\.pem': \[Errno 2\] No such file"),
    ):
        with pytest.raises(ConfigError, match=why):
            Server(MilvusOptions(uri, ca_file=str(tmp_path / file)), "seen", "s", 4)
