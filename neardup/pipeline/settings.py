"""Settings of a run: one typed object, built once and passed down.

Command line, then `NEARDUP_…`, then a file of that name in SECRETS_FOLDER, then default.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from neardup.pipeline.errors import ConfigError
from neardup.pipeline.types import Decision, Limits, RegionMode

if TYPE_CHECKING:
    from neardup.pipeline.index.milvus.options import MilvusOptions

PREFIX = "NEARDUP_"
_OPTIONS = {
    "precision": "--threshold-precision",
    "media_partitions": "--partitions",
    "state_folder": "--state",
    "health_host": "--host",
    **{
        name: "--" + name.replace("_", "-")
        for name in (
            *("api_port", "calibration", "device", "model", "regions", "replication_factor", "sample_fps", "threads"),
        )
    },
}
"""Options of the command line that give a setting."""
SECRETS_FOLDER = Path("/run/secrets")
"""Where Docker puts secrets: a file neardup_redis stands for NEARDUP_REDIS, unless that is set."""
NO_TENANTS = ("asks", "dead-letters", "embed", "fill", "log", "media", "packs", "spaces", "thumbnails", "verdicts")
"""What stands where a tenant's name would: in names of topics and groups, and in the blob store."""


class Settings(BaseSettings):
    """What every command shares; `load` reports mistakes in words."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    model: str = Field("default", description="checkpoint: a name that `neardup models` lists, or a path")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the network runs")
    calibration: str = Field("", description="file of `neardup calibrate` that takes the place of the checkpoint's own")
    threads: int = Field(
        0, ge=0, le=1024, description="decoding threads, as many for the network on a CPU; 0 is one per core"
    )
    processes: int = Field(0, ge=0, le=1024, description="processes that describe; 0 chooses, 1 uses threads only")
    shared_network: bool = Field(
        False, description="whether processes that describe share one network on a CPU, too, as they do on a GPU"
    )
    precision: float = Field(0.99, gt=0.0, lt=1.0, description="wanted precision of `duplicate`")
    regions: RegionMode = Field(
        "boxes", description="which parts of an image are compared, too: pictures within it, fixed parts, or none"
    )
    sample_fps: float = Field(2.0, gt=0.0, le=60.0, description="frames per second sampled from a video")
    max_bytes: int = Field(Limits().max_bytes, gt=0, description="largest image file, in bytes")
    max_video_bytes: int = Field(Limits().max_video_bytes, gt=0, description="largest video file, in bytes")
    max_pixels: int = Field(Limits().max_pixels, gt=0, description="most pixels of an image or video frame")
    max_seconds: float = Field(Limits().max_seconds, gt=0, description="longest video, in seconds")
    max_frames: int = Field(Limits().max_frames, gt=0, description="most sampled frames of a video")
    max_decode_seconds: float = Field(
        Limits().max_decode_seconds, gt=0, description="processor seconds that decoding an item may take"
    )
    max_decode_ratio: float = Field(
        Limits().max_decode_ratio,
        ge=0,
        description="further ones for each second of a film, in which a frame counts for 1/25 s at most",
    )
    max_video_pixels: int = Field(
        Limits().max_video_pixels, gt=0, description="most pixels of all frames of a video that are decoded"
    )
    max_video_memory_bytes: int = Field(
        Limits().max_video_memory_bytes, gt=0, description="most memory for the frames that a video's decoder keeps"
    )
    max_picture_memory_bytes: int = Field(
        Limits().max_picture_memory_bytes, gt=0, description="most memory for decoding one picture"
    )
    scan_decode_factor: float = Field(
        4.0, ge=1, description="factor by which `neardup scan` multiplies the processor seconds for decoding"
    )

    kafka: str = Field("127.0.0.1:9092", min_length=1, description="Kafka's addresses, host:port, with commas between")
    kafka_security: Annotated[
        Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"],
        BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
    ] = Field("plaintext", description="whether connections to Kafka are encrypted (ssl) and log in (sasl)")
    kafka_ca_file: str = Field(
        "", description="certificates (PEM) that Kafka's must be signed by; by default those that the system trusts"
    )
    kafka_certificate_file: str = Field("", description="certificate (PEM) that Kafka's clients show")
    kafka_key_file: str = Field("", description="its key (PEM); by default it is in the file of the certificate")
    kafka_key_password: SecretStr = Field(SecretStr(""), description="password of an encrypted key")
    kafka_sasl_mechanism: Literal["", "PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "", description="how Kafka's clients log in: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512"
    )
    kafka_sasl_username: str = Field("", description="user as which they log in")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="the user's password")
    redis: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="Redis as a URL, which may hold user and password; rediss:// encrypts",
    )
    redis_ca_file: str = Field(
        "", description="certificates (PEM) that may sign Redis's, besides those that the system trusts"
    )
    topic_prefix: str = Field(
        "neardup", pattern=r"^[a-zA-Z0-9_-]{1,100}$", description="first part of the topics' names"
    )
    tenant: str = Field(
        "",
        pattern=r"^[a-z0-9-]{0,32}$",
        description="whose deployment this is, where several share Kafka, Redis or blobs: part of all names there",
    )
    media_partitions: int = Field(8, ge=1, le=10_000, description="partitions of `media` when it is made")
    media_retention_days: float = Field(7.0, gt=0, le=36_500, description="days that `media` keeps a record at least")
    replication_factor: int = Field(1, ge=1, le=32_767, description="brokers that hold each topic when it is made")

    blobs: str = Field("", description="where large media lie: a folder or a URL such as s3://bucket/neardup")
    thumbnail_side: int = Field(
        320, ge=0, le=2048, description="longest side of thumbnails in the blob store, in pixels; 0 makes none"
    )
    fetch_allow: str = Field("", description="prefixes of URIs that workers may read, with commas between; none else")
    fetch_private: bool = Field(False, description="whether allowed hosts may have private addresses")
    fetch_max_bytes: int = Field(2**30, gt=0, description="most bytes read from a URI of http or https")
    fetch_seconds: float = Field(60.0, gt=0, le=3600, description="longest time for reading a URI of http or https")
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="how workers log: `json` lines, `text`, or `auto`: JSON where standard error is no terminal"
    )
    health_host: str = Field("127.0.0.1", min_length=1, description="where workers serve /healthz, /readyz, /metrics")
    max_batch_wait_seconds: float = Field(
        0.02,
        ge=0,
        le=10,
        description="longest wait of a frame for its batch where threads describe, as beside a GPU",
    )
    max_in_flight_bytes: int = Field(
        128 * 2**20, gt=0, description="bytes under way in a worker, above which it pauses"
    )
    known_content_bytes: int = Field(
        256 * 2**20,
        ge=0,
        description="size of an embed worker's file of descriptions, from which content that comes again is described",
    )
    state_folder: str = Field("", description="where workers keep their state, each in a folder of its own")
    index: str = Field(
        "auto",
        description="what searches descriptors: exact, scann, milvus, or auto, which is scann where it is installed",
    )
    milvus: str = Field("", description="where Milvus is, for the index milvus: http://host:19530; https encrypts")
    milvus_token: SecretStr = Field(SecretStr(""), description="how we log in there: user:password, or an API key")
    milvus_ca_file: str = Field(
        "", description="certificates (PEM) that Milvus's must be signed by; by default those that the system trusts"
    )
    milvus_index: Literal["SCANN", "HNSW", "IVF_SQ8", "IVF_FLAT", "FLAT"] = Field(
        "SCANN", description="type of Milvus's index when a collection is made"
    )
    milvus_effort: int = Field(
        0, ge=0, le=32_768, description="its search effort, nprobe or ef; 0 is 32 (SCANN, IVF_FLAT), 160, 64 (IVF_SQ8)"
    )
    milvus_shards: int = Field(2, ge=1, le=16, description="shards of a collection when it is made")
    milvus_from: int = Field(
        100_000,
        gt=0,
        description="descriptors from which Milvus is asked; below, a match worker compares with all by itself",
    )
    scann_from: int = Field(
        0, ge=0, description="descriptors from which ScaNN proposes candidates; 0 is 100,000, with a GPU 2,000,000"
    )
    snapshot_records: int = Field(100_000, gt=0, description="records of the log between snapshots of the state")
    snapshot_seconds: float = Field(300.0, gt=0, description="maximum seconds between snapshots while records arrive")
    max_unwritten_bytes: int = Field(
        2**30, gt=0, description="bytes of vectors that a full disk did not take, above which a match worker waits"
    )
    live_idle_seconds: float = Field(
        300.0, gt=0, le=86_400, description="seconds of the log without a frame after which a live video has ended"
    )
    live_max_frames: int = Field(
        50_000, ge=2000, description="newest frames of a running live video that items are compared with"
    )
    live_growth_seconds: float = Field(
        10.0, gt=0, le=3600, description="seconds by which spans of a live video grow before a new verdict is published"
    )
    live_unsure_seconds: float = Field(
        30.0, ge=0, le=3600, description="seconds that an unsure match of a live video goes on before it is flagged"
    )
    prove: bool = Field(
        True, description="whether decisions of the stream wait for proofs, and packs of pictures are kept for these"
    )
    prove_seconds: float = Field(
        30.0, gt=0, le=86_400, description="seconds that a decision waits for its proofs while prove workers are alive"
    )
    prove_outage_seconds: float = Field(
        900.0, gt=0, le=86_400, description="seconds that a decision waits while no prove worker is alive"
    )
    max_pending: int = Field(
        100_000,
        gt=0,
        description="items that wait for proofs, above which only best candidates and those of banks are proved",
    )
    keep_distinct_days: float = Field(
        30.0, ge=0, le=36_500, description="days after which Redis forgets verdicts of `distinct`; 0 keeps them"
    )
    max_dead_letters: int = Field(
        100,
        gt=0,
        description="dead letters in a row after which an embed worker checks itself, and a webhook worker stops",
    )

    api_host: str = Field(
        "127.0.0.1", min_length=1, description="where the API listens; beyond this machine only with tokens"
    )
    api_port: int = Field(8630, ge=0, le=65535, description="its port; 0 takes a free one")
    api_tokens_file: str = Field(
        "", description="file of tokens, a line name:role:sha256 each, as `neardup token` adds them"
    )
    api_tokens: SecretStr = Field(SecretStr(""), description="such lines themselves, with commas between")
    api_session_secret: SecretStr = Field(
        SecretStr(""),
        description="at least 32 random bytes, the same for all API workers, that sign the cookies of pages; "
        "by default in the state folder",
    )
    api_wrong_tokens_per_minute: float = Field(
        30.0, ge=0, description="unknown tokens that one address may present per minute; 0 is no limit"
    )
    api_trusted_proxies: str = Field(
        "", description="addresses or networks whose X-Forwarded-Proto and X-Forwarded-For are believed, with commas"
    )
    api_metrics: Literal["token", "open", "off"] = Field(
        "token", description="/metrics on the API's port: with a token, for anyone, or only on the worker's own port"
    )
    api_rate_per_second: float = Field(100.0, ge=0, description="requests of one token per second; 0 is no limit")
    api_max_requests: int = Field(256, gt=0, description="requests under way in one API worker")
    api_max_feeds: int = Field(256, gt=0, description="feeds that are watched at once in one API worker")
    api_max_upload_bytes: int = Field(
        512 * 2**20, gt=0, description="bytes of uploads under way in one API worker, until they are answered"
    )
    api_max_connections: int = Field(
        800, gt=0, description="connections to one API worker; beyond them it closes the one that is silent for longest"
    )
    api_token_share: float = Field(
        0.5, gt=0, le=1, description="share of requests, feeds and bytes that one token may have under way"
    )
    api_admin_reserve: float = Field(
        0.125, ge=0, lt=1, description="share of requests, feeds and bytes that only tokens of administrators may take"
    )
    api_max_bytes: int = Field(64 * 2**20, gt=0, description="largest upload to the API, in bytes")
    api_body_seconds: float = Field(20.0, gt=0, le=600, description="longest time for a request's body to arrive")
    api_request_seconds: float = Field(30.0, gt=0, le=600, description="longest time for a request of the API")
    api_decode_seconds: float = Field(
        20.0, gt=0, le=600, description="processor seconds that decoding an upload to the API may take"
    )
    api_workers: str = Field(
        "embed=127.0.0.1:9401,match=127.0.0.1:9402,flag=127.0.0.1:9403,api=127.0.0.1:9404,prove=127.0.0.1:9406",
        description="workers whose metrics the page /ops shows, kind=host:port with commas between",
    )
    api_origins: str = Field(
        "", description="sites whose pages may call the API, such as https://a.example, with commas"
    )
    api_models: str = Field("", description="further checkpoints that comparisons may name: name=path, with commas")

    webhook_url: SecretStr = Field(
        SecretStr(""), description="where the webhook worker sends what is flagged, such as https://example.org/hook"
    )
    webhook_secrets: SecretStr = Field(
        SecretStr(""), description="what it signs with: whsec_ and 24 to 64 bytes in Base64; with commas, several"
    )
    webhook_bank: str = Field("", description="only what a match of this bank is flagged for")
    webhook_decision: Literal["", "duplicate", "unsure"] = Field("", description="only what is flagged as this")
    webhook_private: bool = Field(False, description="whether the receiver may have private addresses, and plain http")
    webhook_seconds: float = Field(5.0, gt=0, le=60, description="longest wait for the receiver's answer")
    webhook_retry_seconds: float = Field(
        86_400.0,
        ge=0,
        description="seconds after it was flagged that an event which is not taken becomes a dead letter",
    )

    @field_validator("tenant")
    @classmethod
    def _is_no_other_name(cls, tenant: str) -> str:
        if tenant in NO_TENANTS or tenant != tenant.strip("-"):
            raise ValueError(f"wanted a-z, 0-9 and - within, and none of {', '.join(NO_TENANTS)}")
        return tenant

    @property
    def topic_root(self) -> str:
        """What the names of topics, consumer groups and transactions begin with; a full stop follows."""
        return f"{self.topic_prefix}.{self.tenant}" if self.tenant else self.topic_prefix

    @property
    def own_index(self) -> str:
        """What searches where there is no log, as in a scan: Milvus is only for the stream."""
        return "auto" if self.index == "milvus" else self.index

    @property
    def milvus_options(self) -> MilvusOptions:
        """How Milvus is reached."""
        from neardup.pipeline.index.milvus.options import MilvusOptions

        return MilvusOptions(
            self.milvus,
            self.milvus_token.get_secret_value(),
            self.milvus_ca_file,
            self.topic_root,
            self.milvus_index,
            self.milvus_effort,
            self.milvus_shards,
            self.milvus_from,
        )

    @property
    def webhook_only(self) -> Decision | None:
        """The decision that the webhook is about; None is all."""
        return Decision(self.webhook_decision) if self.webhook_decision else None

    @property
    def limits(self) -> Limits:
        """What an item may ask of us."""
        return Limits(
            max_bytes=self.max_bytes,
            max_video_bytes=self.max_video_bytes,
            max_pixels=self.max_pixels,
            max_seconds=self.max_seconds,
            max_frames=self.max_frames,
            max_decode_seconds=self.max_decode_seconds,
            max_decode_ratio=self.max_decode_ratio,
            max_video_pixels=self.max_video_pixels,
            max_video_memory_bytes=self.max_video_memory_bytes,
            max_picture_memory_bytes=self.max_picture_memory_bytes,
        )

    @property
    def trusted_proxies(self) -> list[str]:
        """Addresses and networks of proxies before the API; raises ConfigError for what is none."""
        found = [one.strip() for one in self.api_trusted_proxies.split(",") if one.strip()]
        for one in found:
            try:
                ipaddress.ip_network(one)
            except ValueError as error:
                raise ConfigError(f"api_trusted_proxies: {one!r}: {error}; wanted such as 10.0.0.0/8") from None
        return found

    @property
    def scan_limits(self) -> Limits:
        """What a file of a scan may ask of us: nobody else waits for it."""
        factor = self.scan_decode_factor
        return replace(
            self.limits,
            max_decode_seconds=factor * self.max_decode_seconds,
            max_decode_ratio=factor * self.max_decode_ratio,
        )

    @property
    def api_limits(self) -> Limits:
        """What an upload may ask of us that somebody waits for."""
        return replace(
            self.limits,
            max_decode_seconds=self.api_decode_seconds,
            max_decode_ratio=0.0,
            decode_setting="api_decode_seconds",
        )

    @property
    def blobs_url(self) -> str:
        """Where files of items lie, as a URL without a slash at its end; those of a tenant in a folder of its own."""
        below = f"/{self.tenant}" if self.tenant else ""
        if "://" in self.blobs:
            return self.blobs.rstrip("/") + below
        folder = Path(self.blobs).expanduser() if self.blobs else _data_home() / "blobs"
        return Path(os.path.abspath(folder)).as_uri() + below  # noqa: PTH100 (links are left as they are)

    @property
    def state_path(self) -> Path:
        """Where match workers keep their state."""
        return Path(self.state_folder).expanduser() if self.state_folder else _data_home() / "state"

    @property
    def fetch_prefixes(self) -> tuple[str, ...]:
        """Prefixes of URIs that may be read."""
        return tuple(prefix.strip() for prefix in self.fetch_allow.split(",") if prefix.strip())

    @property
    def worker_threads(self) -> int:
        """Decoding threads, at least 1."""
        return self.threads or usable_cores()


def _data_home() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "neardup"


def usable_cores() -> int:
    """Return the number of cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(**options: object) -> Settings:
    """Build the settings from options that are not None, the environment and the defaults.

    Raises:
        ConfigError: a value is out of range, or an environment variable NEARDUP_… or a secret neardup_… is no setting.
    """
    secrets = check_names()
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    try:
        return Settings(**{"_secrets_dir": SECRETS_FOLDER if secrets else None, **given})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        named = _OPTIONS.get(name, name) if name in given else PREFIX + name.upper()
        raise ConfigError(f"{named} is {first['input']!r}: {first['msg']}") from error


def check_names() -> list[str]:
    """Return the names of the files of secrets, all of which are settings.

    Raises:
        ConfigError: an environment variable NEARDUP_… or a secret neardup_… is no setting.
    """
    names = {PREFIX + name.upper() for name in Settings.model_fields}
    secrets = _secrets()
    for name in sorted((*os.environ, *secrets)):
        if name.upper().startswith(PREFIX) and name.upper() not in names:
            known = sorted(one.removeprefix(PREFIX) for one in names)
            close = get_close_matches(name.upper().removeprefix(PREFIX), known, n=1)
            meant = f"; did you mean {PREFIX}{close[0]}?" if close else ";"
            raise ConfigError(f"{name} is no setting{meant} README.md, docs/stream.md and docs/api.md list them")
    return secrets


def _secrets() -> list[str]:
    """Return the names of the files in SECRETS_FOLDER; none where it is somebody else's."""
    try:
        return [path.name for path in SECRETS_FOLDER.iterdir()]
    except OSError:
        return []


def expand(path: Path) -> Path:
    """Return the path with a leading ~ replaced; nothing else is resolved, so that reports show what was typed."""
    return path.expanduser()
