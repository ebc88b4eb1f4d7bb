"""What is asked of one collection of Milvus, in numbers; every failure is a DependencyError.

Calls of the hot path build their requests from arrays: pymilvus's own take and return a Python object for each number,
which costs more than the decisions that are taken. They may run in any thread.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from neardup.pipeline.errors import ConfigError, DependencyError, install_command
from neardup.pipeline.index.milvus.options import SEARCHES, MilvusOptions
from neardup.pipeline.index.milvus.sentinels import MARKER
from neardup.pipeline.index.rows import RowNumbers
from neardup.pipeline.types import Descriptors

logger = logging.getLogger(__name__)
SEARCH_SECONDS = 10.0
WRITE_SECONDS = 20.0
ADMIN_SECONDS = 30.0
MOST_RESULTS = 16_384
"""What Milvus returns at most for a query."""
_NOTE_BYTES = 512
_CUSTOMIZED = 4
"""The consistency level at which a search says itself what it must see."""
_NO_COLLECTION = 100


class Marker(msgspec.Struct, frozen=True):
    """What the leader has written, as a row of the collection.

    Attributes:
        applied: everything published up to this offset of the log was confirmed.
        stamp: Milvus's time of that: a search at this time or later sees it.
        sentinels: how many there are. rows: written since the collection was made.
    """

    applied: int
    stamp: int
    sentinels: int
    rows: int


class Lost(DependencyError):
    """The collection is not there, or is another one than before."""


class Server:
    """One collection; connects with the first call."""

    def __init__(self, options: MilvusOptions, name: str, space: str, dimension: int) -> None:
        """See `factory.make_index` for the name.

        Raises:
            ConfigError: pymilvus is not installed, or an option is unusable.
        """
        # The match worker's copies that write snapshots touch no client; gRPC need not stop its threads for them.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        try:
            import pymilvus  # noqa: F401
        except ImportError as error:
            raise ConfigError(f"index 'milvus' needs pymilvus: {install_command('milvus')}") from error
        _check_ca_file(options)
        if options.index not in SEARCHES:
            raise ConfigError(f"milvus_index is {options.index!r}: expected one of {', '.join(SEARCHES)}")
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it logs what it raises, with a stack
        self.collection = _name(options.prefix, name, space)
        self._options = options
        self._dimension = dimension
        self._client: Any = None
        self._number: int | None = None

    def open(self) -> bool:
        """Return whether the collection is there; connects.

        Raises:
            Lost: it is another one than the last time.
        """
        with _naming("open"):
            client = self._connected()
            if not client.has_collection(self.collection, timeout=ADMIN_SECONDS):
                if self._number is not None:
                    self._number = None
                    raise Lost(f"collection {self.collection} of Milvus is gone")
                return False
            number = client.describe_collection(self.collection, timeout=ADMIN_SECONDS)["collection_id"]
            before, self._number = self._number, number
            if before not in (None, number):
                raise Lost(f"collection {self.collection} of Milvus was made anew by somebody else")
            client.load_collection(self.collection, timeout=ADMIN_SECONDS)
            return True

    def make(self) -> None:
        """Make the collection, empty and ready to be searched, in place of one that there may be."""
        from pymilvus import DataType

        self.drop()
        _, _, parameters = SEARCHES[self._options.index]
        with _naming("make a collection"):
            client = self._connected()
            schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
            schema.add_field("id", DataType.INT64, is_primary=True)
            schema.add_field("note", DataType.VARCHAR, max_length=_NOTE_BYTES)
            schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self._dimension)
            index = client.prepare_index_params()
            index.add_index("vector", index_type=self._options.index, metric_type="L2", params=parameters)
            client.create_collection(
                self.collection,
                schema=schema,
                index_params=index,
                shards_num=self._options.shards,
                timeout=ADMIN_SECONDS,
            )
        self.open()
        logger.info("collection made name=%s index=%s", self.collection, self._options.index)

    def drop(self) -> None:
        """Have the collection and all that is in it deleted, if it is there."""
        with _naming("drop a collection"):
            self._connected().drop_collection(self.collection, timeout=ADMIN_SECONDS)
        self._number = None

    def write(self, ids: RowNumbers, vectors: Descriptors, note: tuple[int, str] | None = None) -> int:
        """Insert rows, or replace those of the same id; return Milvus's time of it.

        Args:
            note: the id and text of one more row.
        """
        from pymilvus.grpc_gen import milvus_pb2 as requests
        from pymilvus.grpc_gen import schema_pb2 as values

        notes = [""] * len(ids)
        if note is not None:
            ids, notes = np.append(ids, note[0]), [*notes, note[1]]
            vectors = np.concatenate([vectors, np.eye(1, self._dimension, dtype=np.float32)])
        scalars, text = values.ScalarField, values.StringArray(data=notes)
        rows = values.FloatArray(data=vectors.ravel())
        columns = [
            values.FieldData(
                field_name="id", type=values.Int64, scalars=scalars(long_data=values.LongArray(data=ids.tolist()))
            ),
            values.FieldData(field_name="note", type=values.VarChar, scalars=scalars(string_data=text)),
            values.FieldData(
                field_name="vector",
                type=values.FloatVector,
                vectors=values.VectorField(dim=self._dimension, float_vector=rows),
            ),
        ]
        request = requests.UpsertRequest(collection_name=self.collection, fields_data=columns, num_rows=len(ids))
        answer = self._call("write", lambda stub, metadata: stub.Upsert(request, WRITE_SECONDS, metadata))
        return int(answer.timestamp)

    def delete(self, ids: RowNumbers) -> None:
        """Delete rows, whether they are there or not."""
        from pymilvus.grpc_gen import milvus_pb2 as requests

        request = requests.DeleteRequest(collection_name=self.collection, expr=f"id in {ids.tolist()}")
        self._call("delete", lambda stub, metadata: stub.Delete(request, WRITE_SECONDS, metadata))

    def search(self, queries: Descriptors, k: int, effort: int, stamp: int, below: int | None) -> RowNumbers:
        """Return the ids of about the k nearest rows of each query, (n, k), in any order, padded with `MISSING`.

        Args:
            k: 1 to MOST_RESULTS. effort: a factor of the option's.
            stamp: what was written up to this time of Milvus is searched.
            below: only ids below.
        """
        from pymilvus.grpc_gen import common_pb2 as common
        from pymilvus.grpc_gen import milvus_pb2 as requests

        parameter, default, _ = SEARCHES[self._options.index]
        how: dict[str, int] = {}
        if parameter:
            how[parameter] = min((self._options.effort or default) * effort, 1024 if parameter == "nprobe" else 2**15)
            if parameter == "ef":
                how[parameter] = max(how[parameter], k)
        parameters = {"anns_field": "vector", "topk": k, "metric_type": "L2", "round_decimal": -1, "params": how}
        placeholders = common.PlaceholderValue(
            tag="$0", type=common.PlaceholderType.FloatVector, values=[query.tobytes() for query in queries]
        )
        request = requests.SearchRequest(
            collection_name=self.collection,
            dsl="" if below is None else f"id < {below}",
            dsl_type=common.DslType.BoolExprV1,
            placeholder_group=common.PlaceholderGroup(placeholders=[placeholders]).SerializeToString(),
            search_params=[
                common.KeyValuePair(
                    key=key, value=value if isinstance(value, str) else msgspec.json.encode(value).decode()
                )
                for key, value in parameters.items()
            ],
            nq=len(queries),
            guarantee_timestamp=max(stamp, 1),
            consistency_level=_CUSTOMIZED,
        )
        answer = self._call("search", lambda stub, metadata: stub.Search(request, SEARCH_SECONDS, metadata))
        return _table(
            np.array(answer.results.ids.int_id.data, np.int64),
            np.array(answer.results.topks, np.int64),
            len(queries),
            k,
        )

    def read(self, ids: RowNumbers, with_vectors: bool = False) -> dict[int, Descriptors]:
        """Return those of the ids that are there now, with their vectors if these are wanted."""
        fields = ["id", "vector"] if with_vectors else ["id"]
        with _naming("read"):
            found = self._connected().query(
                self.collection,
                filter=f"id in {ids.tolist()}",
                output_fields=fields,
                consistency_level="Strong",
                timeout=SEARCH_SECONDS,
            )
        return {one["id"]: np.array(one.get("vector", ()), np.float32) for one in found}

    def read_marker(self) -> Marker | None:
        """Return the marker, None if there is none."""
        with _naming("read"):
            found = self._connected().query(
                self.collection,
                filter=f"id in [{MARKER}]",
                output_fields=["note"],
                consistency_level="Strong",
                timeout=SEARCH_SECONDS,
            )
        return msgspec.json.decode(found[0]["note"], type=Marker) if found else None

    def close(self) -> None:
        """Disconnect."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _connected(self) -> Any:
        if self._client is None:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException

            options = self._options
            more: dict[str, object] = {}
            if options.uri.startswith("https://"):
                more["secure"] = True
                if options.ca_file:
                    more["server_pem_path"] = str(Path(options.ca_file).expanduser())
            try:
                self._client = MilvusClient(options.uri, token=options.token, timeout=SEARCH_SECONDS, **more)
            except MilvusException as error:
                if not more:
                    raise
                authority = options.ca_file or "an authority of the system"
                raise DependencyError(
                    f"Milvus does not answer at {options.uri}, or its certificate is not signed by {authority}"
                ) from error
        return self._client

    def _call(self, what: str, call: Callable[[Any, Any], Any]) -> Any:
        """Call a method of the generated stub, on the connection that pymilvus keeps, and check the status."""
        with _naming(what):
            answer = call(self._connected()._get_connection()._stub, ())
        status = answer.status
        if status.code or status.error_code:
            kind = Lost if status.code == _NO_COLLECTION else DependencyError
            raise kind(f"Milvus does not {what}: {status.reason or status.error_code} ({status.code})")
        return answer


def drop_collections(options: MilvusOptions, names: Sequence[str], space: str, dimension: int) -> None:
    """Delete the collections that are there of these; a failure is logged, and the rest is left."""
    server = Server(options, names[0], space, dimension)
    try:
        for name in names:
            server.collection = _name(options.prefix, name, space)
            server.drop()
    except DependencyError as error:
        logger.warning("collection not dropped name=%s error=%s", server.collection, error)
    finally:
        server.close()


def drop_space(options: MilvusOptions, names: Sequence[str], space: str) -> list[str]:
    """Delete the collections of a space that nobody uses any more, and return which of these there were.

    Args:
        names: see `factory.make_index`.
    Raises:
        DependencyError: Milvus does not answer.
    """
    server, dropped = Server(options, names[0], space, 0), []
    try:
        with _naming("drop a collection"):
            there = set(server._connected().list_collections(timeout=ADMIN_SECONDS))
        for name in names:
            server.collection = _name(options.prefix, name, space)
            if server.collection in there:
                server.drop()
                dropped.append(server.collection)
    finally:
        server.close()
    return dropped


MISSING = np.iinfo(np.int64).min
"""No id."""


def _table(ids: RowNumbers, counts: RowNumbers, n: int, k: int) -> RowNumbers:
    """Return what was found for n queries, one after another, as (n, k)."""
    if len(ids) == n * k:
        return ids.reshape(n, k)
    table = np.full((n, k), MISSING, np.int64)
    table[np.arange(k) < counts[:n, None]] = ids
    return table


def _name(prefix: str, name: str, space: str) -> str:
    digest = hashlib.blake2b(f"{prefix}\n{name}\n{space}".encode(), digest_size=8).hexdigest()
    return f"_{re.sub('[^a-zA-Z0-9]', '_', f'{prefix}_{name}')[:100]}_{digest}"


def _check_ca_file(options: MilvusOptions) -> None:
    """Raise ConfigError where the file of certificates has no effect or cannot be used, which gRPC would not say."""
    if not options.ca_file:
        return
    if not options.uri.startswith("https://"):
        raise ConfigError("milvus_ca_file is set, and milvus is no URL that encrypts; wanted https://…")
    try:
        ssl.create_default_context(cafile=str(Path(options.ca_file).expanduser()))
    except OSError as error:
        raise ConfigError(f"milvus_ca_file is {options.ca_file!r}: {error}; wanted certificates (PEM)") from error


@contextmanager
def _naming(what: str) -> Iterator[None]:
    import grpc
    from pymilvus.exceptions import MilvusException

    try:
        yield
    except MilvusException as error:
        kind = Lost if error.code == _NO_COLLECTION else DependencyError
        raise kind(f"Milvus does not {what}: {error.message} ({error.code})") from error
    except (grpc.RpcError, grpc.FutureTimeoutError, ConnectionError) as error:
        said = error.details() if isinstance(error, grpc.Call) else error
        raise DependencyError(f"Milvus does not {what}: {said}") from error
