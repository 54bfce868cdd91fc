"""A client of Redis, from its URL."""

from __future__ import annotations

from typing import Any

import redis

from unembed.errors import InputError
from unembed.models.settings import without_password


def open_redis(url: str, **options: Any) -> redis.Redis:
    """Connects when it is first used. Raises InputError, without the password, for a URL that redis-py cannot use."""
    try:
        client = redis.Redis.from_url(url, **options)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # connects nothing, but looks at what the URL asks for
    except (ValueError, TypeError, redis.RedisError) as error:
        raise InputError(f"the address of Redis, {without_password(url)}, cannot be used: {error}") from None
    return client
