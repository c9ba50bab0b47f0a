"""One client of the broker a process; whoever uses it must do without when the broker is away."""

import redis
from django.conf import settings

TIMEOUT_SECONDS = 0.2

_client: redis.Redis | None = None


def broker() -> redis.Redis:
    """Give the process's client; its calls give up quickly."""
    global _client
    if _client is None:
        _client = redis.Redis.from_url(
            settings.REDIS_URL, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS
        )
    return _client
