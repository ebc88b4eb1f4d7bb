"""Objects of a store below a URL such as s3://bucket/prefix (fsspec), listed as the files of a folder are.

They come in pages, of S3 and Google Cloud Storage a thousand objects at a time, of other stores one folder at a time:
memory does not grow with the bucket. Names that begin with a dot are left out, as in folders.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from neardup.pipeline.cleanup.plan import QUARANTINE
from neardup.pipeline.errors import ConfigError, DependencyError
from neardup.pipeline.media.identify import HEAD_BYTES
from neardup.pipeline.media.object_store import open_store

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "memory")
PAGE_OBJECTS = 1000
_STAMPS = ("ETag", "etag", "LastModified", "last_modified", "updated", "mtime", "created")
"""What says that an object has other content than before, in the words of the stores."""
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")
_Listed: TypeAlias = tuple[str, int, str, int | None]
"""Path, size, stamp and time."""
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Object:
    """One object.

    Attributes:
        path: as fsspec names it. name: below the URL of the source; "" where that is the object itself.
        size: bytes. stamp: another text once the content is another: the entity tag, or the time of modification.
        time_ns: when it was written, in nanoseconds since 1970; None where the store does not say.
    """

    path: str
    name: str
    uri: str
    size: int
    stamp: str
    time_ns: int | None = None


class Objects:
    """One source.

    Attributes:
        url: without a slash at its end.
        single: whether the URL is that of one object, and not of what lies below it.
    Raises:
        ConfigError: there is nothing at the URL, or what its scheme needs is not installed.
        DependencyError: the store failed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        if not urlsplit(url).netloc or "::" in url:
            raise ConfigError(f"{url} is no place in an object store; wanted a URL such as s3://bucket/prefix")
        self._files, root = open_store(self.url, use_listings_cache=False)  # such a cache would grow with the bucket
        self._root = root.rstrip("/")
        self._info: Mapping[str, Any] = {}
        try:
            self._info = self._asked(lambda: self._files.info(self._root))
        except FileNotFoundError as error:
            raise ConfigError(
                f"{url} does not exist; name a bucket, a prefix that ends at a slash, or an object"
            ) from error
        except PermissionError as error:
            raise ConfigError(f"{url} may not be read: {error}; check the credentials") from error
        self.single = self._info.get("type") == "file" and not url.endswith("/")

    @property
    def name(self) -> str:
        """The last part of the URL."""
        return self.url.rpartition("/")[2]

    def __iter__(self) -> Iterator[Object]:
        """Yield the objects, page by page; raises DependencyError."""
        if self.single:
            yield Object(self._root, "", self.url, int(self._info["size"]), *_when(self._info))
            return
        for path, size, stamp, time_ns in self._over(self._listed()):
            name = path[len(self._root) + 1 :]
            if name and not name.endswith("/") and not any(map(_is_left_out, name.split("/"))):
                yield Object(path, name, f"{self.url}/{name}", size, stamp, time_ns)

    def has(self, name: str) -> bool:
        """Return whether there is an object of this name that may be seen; raises DependencyError."""
        try:
            return bool(self._asked(lambda: self._files.exists(f"{self._root}/{name}")))
        except OSError:
            return False

    def heads(self, objects: Sequence[Object]) -> list[bytes | OSError]:
        """Return the first bytes of each, or why they cannot be read; all are asked for at once.

        Raises:
            DependencyError: the store failed.
        """
        whole = [one for one in objects if one.size]  # an empty object has no range that could be read
        paths, ends = [one.path for one in whole], [min(one.size, HEAD_BYTES) for one in whole]
        answers = self._asked(lambda: self._files.cat_ranges(paths, 0, ends, on_error="return")) if whole else []
        found = dict(zip(paths, answers, strict=True))
        return [self._head(found.get(one.path, b"")) for one in objects]

    def read(self, object: Object, most_bytes: int) -> bytes:
        """Return the content, or its beginning where it is larger; raises OSError or DependencyError."""
        return bytes(self._asked(lambda: self._files.cat_file(object.path, 0, most_bytes)))

    def copy(self, object: Object, target: Path) -> None:
        """Write the content to a file; raises OSError or DependencyError."""
        self._asked(lambda: self._files.get_file(object.path, str(target)))

    def _head(self, answer: bytes | Exception) -> bytes | OSError:
        if isinstance(answer, Exception):
            return _of_one(answer, self.url)
        return bytes(answer)

    def _asked(self, ask: Callable[[], _T]) -> _T:
        try:
            return ask()
        except Exception as error:  # every store has errors of its own
            raise _of_one(error, self.url) from error

    def _listed(self) -> Iterator[_Listed]:
        scheme = urlsplit(self.url).scheme.lower()
        if scheme in ("s3", "s3a"):
            return self._of_s3()
        return self._of_google() if scheme in ("gs", "gcs") else self._walked()

    def _over(self, listed: Iterator[_T]) -> Iterator[_T]:
        """Yield what a store lists; a failure concerns all of it, whatever it is."""
        try:
            yield from listed
        except Exception as error:  # every store has errors of its own
            raise _failed(error, self.url) from error

    def _of_s3(self) -> Iterator[_Listed]:
        bucket, _, prefix = self._root.partition("/")
        more: dict[str, str] = {}
        while True:
            page = self._files.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=prefix and f"{prefix}/", MaxKeys=PAGE_OBJECTS, **more
            )
            for one in page.get("Contents", ()):
                yield f"{bucket}/{one['Key']}", int(one["Size"]), *_when(one)
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _of_google(self) -> Iterator[_Listed]:
        bucket, _, prefix = self._root.partition("/")
        token: str | None = None
        while True:
            page = self._files.call(
                "GET",
                "b/{}/o",
                bucket,
                prefix=f"{prefix}/" if prefix else None,
                maxResults=PAGE_OBJECTS,
                pageToken=token,
                json_out=True,
            )
            for one in page.get("items", ()):
                yield f"{bucket}/{one['name']}", int(one["size"]), *_when(one)
            if (token := page.get("nextPageToken")) is None:
                return

    def _walked(self) -> Iterator[_Listed]:
        for _, folders, files in self._files.walk(self._root, on_error="raise", detail=True):
            for name in [name for name in folders if _is_left_out(name)]:
                del folders[name]  # it is not entered
            for name in sorted(files):
                one = files[name]
                yield str(one["name"]), int(one["size"] or 0), *_when(one)


def _of_one(error: Exception, url: str) -> OSError:
    """Return an error that concerns one object; raises DependencyError for any other."""
    if isinstance(error, (FileNotFoundError, PermissionError)):
        return error
    raise _failed(error, url) from error


def _failed(error: Exception, url: str) -> DependencyError:
    return DependencyError(f"object store {url}: {type(error).__name__}: {error}")


def _is_left_out(part: str) -> bool:
    return part.startswith(".") or part == QUARANTINE


def _when(info: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return an object's stamp, and its time."""
    stamp = next((str(info[name]).strip('"') for name in _STAMPS if info.get(name)), "")
    time = next((info[name] for name in _TIMES if info.get(name)), None)
    try:
        if isinstance(time, str):
            time = datetime.fromisoformat(time.replace("Z", "+00:00"))
        if isinstance(time, datetime):  # without a zone, stores mean UTC
            aware = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
            return stamp, (aware - _EPOCH) // timedelta(microseconds=1) * 1000
        return stamp, None if time is None else int(float(time) * 1e9)
    except (ValueError, TypeError, OverflowError):  # a time in words of its own
        return stamp, None
