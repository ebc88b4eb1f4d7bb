"""Opens what fsspec reads as a store of objects, such as s3://bucket, and says what its scheme needs."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from neardup.pipeline.errors import ConfigError, install_command

_EXTRAS = {"s3fs": "s3", "gcsfs": "gs"}
_PACKAGES = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
}
"""By scheme."""


def open_store(url: str, **options: Any) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path there.

    Args:
        options: of the file system.
    Raises:
        ConfigError: the scheme is not known, or what it needs is not installed.
    """
    import fsspec  # a scan does without

    try:
        files, root = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise ConfigError(f"{url} needs {missing(url, error)}") from error
    except ValueError as error:
        raise ConfigError(f"{url}: {error}") from error
    return files, str(root)


def missing(url: str, error: ImportError) -> str:
    """Return which package a URL needs that is not installed, and how to install it."""
    package = _PACKAGES.get(urlsplit(url).scheme.lower())
    if not package:
        return str(error)
    return f"{package}: {install_command(_EXTRAS[package]) if package in _EXTRAS else f'pip install {package}'}"
