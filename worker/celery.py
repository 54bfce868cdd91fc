"""The Celery app: a queue of batch ids. Free of torch, so that the API can publish.

A message is a hint that a batch waits; the batch's row in SQL is the truth (docs/decisions/0001-truth-in-sql.md).
Hence no result backend, no retries with a countdown and no priorities here: the row knows all of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery import Celery
from kombu.entity import Queue
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from unembed.errors import QueueUnavailableError
from unembed.models.redis_url import for_broker

if TYPE_CHECKING:
    from unembed.models.settings import Settings

DECODE_BATCH: Final = "decode.batch"
QUEUE: Final = "decode"

TIME_LIMIT: Final = 3600  # seconds; a batch that hangs is let go long before, by its lease (worker/heartbeat.py)


def make_app(settings: Settings) -> Celery:
    """A Celery app for these settings; nothing is connected yet."""
    app = Celery("unembed", set_as_current=False)
    broker_url, tls = for_broker(settings.redis_url)
    app.conf.update(
        broker_url=broker_url,
        broker_use_ssl=tls,
        include=["unembed.worker.tasks"],
        **_MESSAGES,
        **_WORKERS,
        **_BROKER,
    )
    return app


_MESSAGES: Final[dict[str, Any]] = {
    "task_serializer": "json",
    "accept_content": ["json"],  # pickle would let whoever can write to Redis run code on the workers
    "result_backend": None,  # SQL is the result store
    "task_ignore_result": True,
    "task_default_queue": QUEUE,
    "task_queues": [Queue(QUEUE)],  # type: ignore[no-untyped-call]
    "task_create_missing_queues": False,
}

_WORKERS: Final[dict[str, Any]] = {
    # Acknowledged after the run, and handed to the next worker when a child dies: how often is counted in SQL.
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    # A batch that failed is queued again, or not, by its row. The message has done its part.
    "task_acks_on_failure": True,
    "task_acks_on_timeout": True,
    "task_soft_time_limit": TIME_LIMIT,
    "task_time_limit": TIME_LIMIT + 60,
    # One batch at a time a process, and none hoarded. A child apart from the main process, so that the main one stays
    # free for events and survives a crash; spawned, not forked, because CUDA does not survive a fork.
    "worker_pool": "prefork",
    "worker_pool_start_method": "spawn",
    "worker_concurrency": 1,
    "worker_prefetch_multiplier": 1,
    "worker_max_tasks_per_child": None,  # a new child loads its decoders again
    "worker_proc_alive_timeout": 300.0,  # a child imports torch before it says that it is up; the default allows 4 s
    # After a broken connection the running batch goes on: it commits, and the copy of its message finds it done.
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    # No soft shutdown: it sleeps its whole time out, even when the batch ends sooner. On TERM the child hands its batch
    # back after the current micro-batch instead (worker/process.py), so that a warm shutdown is short.
    "worker_soft_shutdown_timeout": 0.0,
}

_BROKER: Final[dict[str, Any]] = {
    "broker_connection_timeout": 5,
    "broker_connection_retry": True,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,  # Redis may be away for an hour; the worker waits
    "broker_channel_error_retry": True,  # an error *reply* (out of memory, read-only replica) would end the worker
    "task_publish_retry_policy": {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5},
    "broker_transport_options": {
        # Longer than any batch may run. A message that comes back sooner is refused by its row's lease, and
        # the sweeper brings back what was really lost, sooner than this.
        "visibility_timeout": TIME_LIMIT + 300,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,  # the default looks only every tenth time
        "unacked_mutex_expire": 60,
        "socket_timeout": 30,  # by default a publish on a half-open connection blocks for ever
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
    },
    "visibility_timeout": TIME_LIMIT + 300,
    # Replies to Flower's questions that nobody fetched do not pile up in Redis.
    "control_queue_ttl": 300.0,
    "control_queue_expires": 10.0,
}


def publish(app: Celery, batch_id: str) -> None:
    """Tells the workers that this batch waits. Raises QueueUnavailableError when Redis does not take it."""
    try:
        app.send_task(DECODE_BATCH, args=[batch_id], queue=QUEUE, ignore_result=True)
    except (OperationalError, RedisError, OSError) as error:
        url = app.connection_for_write().as_uri()  # without the password
        raise QueueUnavailableError(f"Redis at {url} does not take the message: {error}") from error
