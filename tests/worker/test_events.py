"""What Flower is told, and that it can be told nothing."""

from __future__ import annotations

import pytest
import redis

from unembed.models.settings import Settings
from unembed.worker.celery import make_app, publish


@pytest.mark.parametrize("events", [True, False])
def test_a_message_is_announced_to_flower_only_where_that_is_wanted(redis_url: str, events: bool) -> None:
    # Given an API that tells Flower what it does, or not, and someone who listens as Flower does
    app = make_app(Settings(redis_url=redis_url, events=events))
    with redis.Redis.from_url(redis_url) as connection, connection.pubsub() as listening:
        listening.psubscribe("/*.celeryev/*")
        assert listening.get_message(timeout=5) is not None  # that it is subscribed
        # When a batch is announced
        publish(app, "job-0")
        # Then there is an event, or none
        heard = listening.get_message(timeout=5 if events else 0.2)
        assert (heard is not None) is events
    app.close()
