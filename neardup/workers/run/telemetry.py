"""All metrics, in Prometheus' conventions; served by `health.py`.

Labels come from short, closed lists: stages, outcomes, reasons, partitions. The buckets are close together where times
were measured on two cores: decoding a photograph 2 to 8 ms, a batch of 32 in the network 40 to 100 ms, an
acknowledgement 2 to 20 ms; from the log to Redis 12 ms, 32 ms at the 99th percentile; from `media` to Redis 0.1 to 2 s
as load grows.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]

_STAGE_SECONDS = (0.00025, 0.0005, 0.001, 0.0015, 0.002, 0.003)
_SECONDS = (0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0)
_DELAYS = (*_SECONDS, 7.5, 10.0, 20.0, 30.0, 45.0, 90.0, 120.0, 180.0, 300.0, 600.0, 1800.0, 3600.0)
"""From a record to what follows from it: minutes where a backlog is worked off; no quantile is finer than these."""

# ---- every worker ----------------------------------------------------------------------------------------------------
WORKER_READY = Gauge("neardup_worker_ready", "1 while /readyz says yes, else 0.")
WORKER_FAILURES = Counter(
    "neardup_worker_failures_total",
    "Failures of Kafka, Redis or a disk after which the worker connects again.",
)
DISK_FREE_BYTES = Gauge(
    "neardup_disk_free_bytes",
    "Free bytes on the disk where a worker keeps state or blobs.",
    ["holds"],
)
DISK_BYTES = Gauge("neardup_disk_bytes", "Size of that disk in bytes.", ["holds"])

# ---- embed -----------------------------------------------------------------------------------------------------------
RECORDS_CONSUMED = Counter(
    "neardup_records_consumed_total", "Records taken from a topic, counted when they are polled.", ["topic"]
)
ITEMS_OUT = Counter(
    "neardup_items_total",
    "Items that left a stage, counted when what follows has confirmed: embed described, removed, dead-lettered or "
    "dropped them; flag wrote them to Redis as distinct, duplicate, unsure, removed, or history: those of an archive, "
    "whatever was decided.",
    ["stage", "outcome"],
)
FRAMES_OUT = Counter("neardup_frames_total", "Frames that went through a stage, counted batch by batch.", ["stage"])
BATCH_FRAMES = Histogram(
    "neardup_batch_frames", "Frames in a batch for the network.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
)
STAGE_SECONDS = Histogram(
    "neardup_stage_duration_seconds",
    "Seconds in a stage: fetch of one item, decode of one item or of a GPU's batch, store of thumbnail and pack, "
    "embed of one batch, produce until it is acknowledged; match, publish and flag of one batch; the pause that a "
    "snapshot causes.",
    ["stage"],
    buckets=(*_STAGE_SECONDS, *_SECONDS),
)
DEAD_LETTERED = Counter(
    "neardup_items_dead_lettered_total", "Items dead-lettered, counted when Kafka has the dead letter.", ["reason"]
)
PARTITION_DEAD_LETTERS = Counter(
    "neardup_partition_dead_letters_total",
    "Items dead-lettered by partition of `media`, from when it is first read.",
    ["partition"],
)
CONSUMER_LAG = Gauge(
    "neardup_consumer_lag_messages",
    "Messages of each partition that this kind of worker has not committed or applied; read from Kafka every 5 s, "
    "absent while Kafka does not answer.",
    ["topic", "partition"],
)
IN_FLIGHT_BYTES = Gauge(
    "neardup_in_flight_bytes", "Bytes of records that were polled and are not acknowledged, and of what they became."
)
PAUSED = Gauge("neardup_consumer_paused", "1 while the consumer is paused because too much is in flight, else 0.")
SELF_CHECKS = Counter(
    "neardup_self_checks_total",
    "Self-checks of an embed worker with a known good picture, after many bad items in a row: passed, failed.",
    ["outcome"],
)
KNOWN_CONTENTS = Counter(
    "neardup_known_contents_total",
    "Items whose content an embed worker has described before, so that they were neither decoded nor embedded.",
)
KNOWN_CONTENT_BYTES = Gauge("neardup_known_content_bytes", "Size of an embed worker's file of descriptions by content.")
GPU_MEMORY_BYTES = Gauge("neardup_gpu_memory_bytes", "GPU memory that torch holds; 0 without a GPU.")
GPU_UTILIZATION = Gauge(
    "neardup_gpu_utilization_ratio", "Share of the last moment in which the GPU was busy; 0 without a GPU."
)

# ---- match and flag --------------------------------------------------------------------------------------------------
MATCH_LEADS = Gauge("neardup_match_leads", "1 while this match worker publishes verdicts, 0 while it follows another.")
MATCH_APPLIED = Gauge("neardup_match_applied_offset", "Offset of the log that the state stands for.")
MATCH_ROWS = Gauge("neardup_match_descriptors", "Descriptors that the state holds, removed ones included.")
MATCH_ITEMS = Gauge("neardup_match_items", "Items that the state holds.")
INDEX_DESCRIPTORS = Gauge(
    "neardup_index_descriptors",
    "Descriptors that are searched, by part: scann in the built searcher, milvus in Milvus, tail newer than that "
    "build, waiting until Milvus takes them.",
    ["part"],
)
INDEX_BYTES = Gauge("neardup_index_bytes", "Bytes of the index beside the vector file: searcher and tail.")
INDEX_BUILDS = Counter(
    "neardup_index_builds_total", "Builds of a searcher that ended: swapped-in, failed.", ["outcome"]
)
INDEX_BUILD_SECONDS = Gauge("neardup_index_build_seconds", "Seconds that the build of the current searcher took.")
INDEX_REFUSED = Counter(
    "neardup_index_refused_total",
    "Times that Milvus failed, or that its answer lacked a row known to be there and was refused.",
)
INDEX_REPAIRED = Counter(
    "neardup_index_repaired_total",
    "Descriptors that Milvus had confirmed and did not have, and which were written again.",
)
CANARY_SEARCHES = Counter(
    "neardup_index_canary_searches_total",
    "Sampled searches that were checked against all rows, by whether the nearest is near enough for a copy: near, far.",
    ["nearest"],
)
CANARY_MISSES = Counter(
    "neardup_index_canary_misses_total",
    "Checked searches in which the index missed the true nearest neighbour.",
    ["nearest"],
)
MATCH_DIFFERED = Counter(
    "neardup_match_differed_total",
    "Published envelopes that differ from what this follower computed.",
)
MATCH_CANDIDATES_LEFT_OUT = Counter(
    "neardup_match_candidates_left_out_total",
    "Envelopes without candidates because these take more than 64 kB, as those of long films: followers search again.",
)
SNAPSHOT_AGE = Gauge(
    "neardup_snapshot_age_seconds",
    "Age in seconds of the oldest change that no snapshot contains; 0 while the newest snapshot contains all.",
)
SNAPSHOT_SECONDS = Gauge("neardup_snapshot_seconds", "Seconds that the last snapshot took to complete.")
UNWRITTEN_BYTES = Gauge(
    "neardup_state_unwritten_bytes",
    "Bytes of vectors kept in memory because the disk with the state is full; 0 otherwise.",
)
SNAPSHOTS_FAILED = Counter("neardup_snapshots_failed_total", "Snapshots that could not be written.")
VERDICTS = Counter(
    "neardup_verdicts_total", "Verdicts, counted when they are published; those of archives left out.", ["decision"]
)
HISTORY_VERDICTS = Counter(
    "neardup_history_verdicts_total", "Verdicts on items of archives, counted when they are published.", ["decision"]
)
REVIEWS = Counter(
    "neardup_reviews_total",
    "Reviewers' decisions by the decision that they review, counted when they are in Redis.",
    ["decision", "outcome"],
)
REVIEWS_WAITING = Gauge(
    "neardup_reviews_waiting_items",
    "Items that wait for a reviewer, by queue: unsure, unproved for want of a proof, all with certain duplicates.",
    ["queue"],
)
FLAG_APPLIED = Gauge("neardup_flag_applied_offset", "Offset of the log up to which Redis holds the verdicts.")
FLAG_REPLAYS = Counter("neardup_flag_replays_total", "Times that Redis had lost its data and was filled again.")
END_TO_END_SECONDS = Histogram(
    "neardup_end_to_end_seconds",
    "Seconds from the item's record in `media`, or else in the log, to the verdict in Redis; replays, "
    "archives and a space that stands by left out.",
    buckets=sorted(_DELAYS),
)

# ---- prove -----------------------------------------------------------------------------------------------------------
PROOFS = Counter(
    "neardup_proofs_total",
    "Pairs that were answered, counted when the log has the answer: copy, variant, unproved; unavailable where a "
    "picture of either is not stored, lapsed where another candidate is a copy already, failed where the proof ended "
    "with an error.",
    ["finding"],
)
PROOF_SECONDS = Histogram(
    "neardup_proof_seconds", "Seconds to prove one pair, its pictures read.", buckets=(*_STAGE_SECONDS, *_SECONDS)
)
ASKS_PASSED_OVER = Counter(
    "neardup_asks_passed_over_total",
    "Messages of `asks` that prove workers leave without an answer: expired after a day, malformed.",
    ["reason"],
)
MATCH_PENDING = Gauge("neardup_match_pending", "Items whose decision waits for proofs.")
MATCH_PENDING_HISTORY = Gauge(
    "neardup_match_pending_history", "Items of archives among these, which are proved after all others."
)
MATCH_LATER_ASKS = Gauge(
    "neardup_match_later_asks", "Earlier heads that are to be proved against references that banks got after them."
)
MATCH_PENDING_SECONDS = Gauge(
    "neardup_match_oldest_pending_seconds",
    "Seconds that the oldest item has waited for proofs, archives left out; 0 while none does.",
)
PROOFS_EXPIRED = Counter(
    "neardup_proofs_expired_total", "Items that the leader decides without proofs because none came in time."
)

# ---- webhook ---------------------------------------------------------------------------------------------------------
WEBHOOK_DELIVERIES = Counter(
    "neardup_webhook_deliveries_total",
    "Attempts to send an event to the webhook's receiver: taken, refused; and events that were dead-lettered.",
    ["outcome"],
)
WEBHOOK_WAITING = Gauge(
    "neardup_webhook_waiting_seconds",
    "Seconds since the event was flagged that waits for the webhook's receiver; 0 while none does.",
)
WEBHOOK_SECONDS = Histogram(
    "neardup_webhook_seconds",
    "Seconds from the record in the log that an item was flagged for to the receiver's answer that it has the event.",
    buckets=sorted((*_DELAYS, 86_400.0)),
)

# ---- API -------------------------------------------------------------------------------------------------------------
API_REQUESTS = Counter(
    "neardup_api_requests_total", "Requests that were answered, streams when they end.", ["route", "status"]
)
API_SECONDS = Histogram(
    "neardup_api_request_duration_seconds",
    "Seconds from a request's first byte to its answer's last; streams left out.",
    ["route"],
    buckets=(*_STAGE_SECONDS, *_SECONDS),
)
API_BEHIND = Gauge("neardup_api_behind_records", "Records of the log that the view of this API worker lacks.")
SEARCHABLE_SECONDS = Histogram(
    "neardup_api_searchable_seconds",
    "Seconds from the item's record in `media`, or else in the log, until this worker's lookups find it; "
    "archives and a space that stands by left out.",
    buckets=sorted(_DELAYS),
)
