from __future__ import annotations

import base64
import json
import subprocess
import sys

import pytest
import redis

from unembed.errors import QueueUnavailableError
from unembed.models.settings import Settings
from unembed.worker.celery import QUEUE, make_app, publish


def test_a_message_carries_the_batch_s_id_and_nothing_else(redis_url: str, queue: redis.Redis) -> None:
    # Given an app on a real Redis
    app = make_app(Settings(redis_url=redis_url))
    # When a batch is published
    publish(app, "job-0")
    # Then one message waits, as JSON, with the id as its only argument
    assert queue.llen(QUEUE) == 1
    message = json.loads(queue.lindex(QUEUE, 0) or b"")
    assert message["content-type"] == "application/json"
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == (["job-0"], {})


def test_publishing_without_redis_is_an_error_that_hides_the_password() -> None:
    # Given a Redis that is not there
    app = make_app(Settings(redis_url="redis://:secret@127.0.0.1:1/0"))
    # When a batch is published
    with pytest.raises(QueueUnavailableError) as caught:
        publish(app, "job-0")
    # Then the error names the place, and not the password
    assert "127.0.0.1:1" in caught.value.message
    assert "secret" not in caught.value.message


def test_publishing_to_a_socket_that_is_not_there_is_the_same_error() -> None:
    app = make_app(Settings(redis_url="unix:///nowhere/redis.sock"))
    with pytest.raises(QueueUnavailableError, match="nowhere"):
        publish(app, "job-0")


def test_no_pickle_and_no_result_backend() -> None:
    conf = make_app(Settings()).conf
    assert conf.accept_content == ["json"]
    assert conf.task_serializer == "json"
    assert conf.result_backend is None


def test_a_message_is_not_redelivered_while_its_batch_may_still_run() -> None:
    conf = make_app(Settings()).conf
    assert conf.broker_transport_options["visibility_timeout"] > conf.task_time_limit


def test_what_the_main_process_imports_is_free_of_torch() -> None:
    # Given a fresh interpreter, since this one may have torch already
    program = (
        "import sys, unembed.worker.celery, unembed.worker.tasks, unembed.worker.main, unembed.worker.launch;"
        "import unembed.worker.sweeper, unembed.worker.flower_server, unembed.models.settings;"
        "unembed.worker.celery.make_app(unembed.models.settings.Settings()).loader.import_default_modules();"
        "sys.exit('torch' in sys.modules)"
    )
    # When it imports all that a worker's main process does, and more / Then torch is not among it
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
