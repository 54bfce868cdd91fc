"""The wire and the states: what every room calls things. All is imported from here, whichever module it is in."""

from __future__ import annotations

from unembed.decode_options import GREEDY, DecodeOptions, Ranking
from unembed.references import ResultsPart
from unembed.schemas.generation import GENERATION_FIELDS, Generation
from unembed.schemas.jobs import DecoderInfo, Job, JobPage
from unembed.schemas.media import (
    ARROW_FILE,
    ARROW_STREAM,
    CARRIED,
    CSV,
    EVENT_STREAM,
    JSON_LINES,
    NEXT_CURSOR,
    PARQUET,
    PROBLEM_JSON,
    RAW_BYTES,
    Order,
    ResultsFormat,
)
from unembed.schemas.problem import Problem
from unembed.schemas.progress import (
    AttemptFailed,
    Batch,
    BatchCounts,
    BatchPage,
    RowCounts,
    Timings,
    Waiting,
    batch_id_of,
    job_id_of,
)
from unembed.schemas.requests import (
    LABEL_FILTER,
    MAX_CARRIED_BYTES,
    MAX_LABELS,
    CarriedKind,
    JobCreate,
    JobSeal,
)
from unembed.schemas.states import BatchState, JobState, RowStatus
from unembed.schemas.values import (
    DEFAULT_BATCH_SIZE,
    DEFAULT_DECODER,
    EngineChoice,
    KeyRole,
    Precision,
    Priority,
    Wire,
)
from unembed.webhooks import Webhook, WebhookState

__all__ = [
    "ARROW_FILE",
    "ARROW_STREAM",
    "CARRIED",
    "CSV",
    "DEFAULT_BATCH_SIZE",
    "DEFAULT_DECODER",
    "EVENT_STREAM",
    "GENERATION_FIELDS",
    "GREEDY",
    "JSON_LINES",
    "LABEL_FILTER",
    "MAX_CARRIED_BYTES",
    "MAX_LABELS",
    "NEXT_CURSOR",
    "PARQUET",
    "PROBLEM_JSON",
    "RAW_BYTES",
    "AttemptFailed",
    "Batch",
    "BatchCounts",
    "BatchPage",
    "BatchState",
    "CarriedKind",
    "DecodeOptions",
    "DecoderInfo",
    "EngineChoice",
    "Generation",
    "Job",
    "JobCreate",
    "JobPage",
    "JobSeal",
    "JobState",
    "KeyRole",
    "Order",
    "Precision",
    "Priority",
    "Problem",
    "Ranking",
    "ResultsFormat",
    "ResultsPart",
    "RowCounts",
    "RowStatus",
    "Timings",
    "Waiting",
    "Webhook",
    "WebhookState",
    "Wire",
    "batch_id_of",
    "job_id_of",
]
