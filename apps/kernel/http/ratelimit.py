import logging

import redis
from django.conf import settings

from apps.kernel.clock import wall_now
from apps.kernel.errors import RateLimitedError

logger = logging.getLogger(__name__)

_client: redis.Redis | None = None


def limit_rate(*, name: str, caller: int, calls: int, seconds: int = 1) -> None:
    """Refuse a caller's call above so many in a fixed window; without a broker everything passes.

    Raises:
        RateLimitedError: with the wait until the next window.
    """
    global _client
    if _client is None:
        _client = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=0.2, socket_connect_timeout=0.2)
    now = int(wall_now().timestamp())
    key = f"rate:{name}:{caller}:{now // seconds}"
    try:
        with _client.pipeline(transaction=False) as pipe:
            pipe.incr(key)
            pipe.expire(key, seconds + 1)
            count = int(pipe.execute()[0])
    except redis.RedisError as error:
        logger.warning("calls are not limited, the broker is away: %s", error)
        return
    if count > calls:
        raise RateLimitedError(
            f"At most {calls} such calls in {seconds} s; wait and try again.",
            retry_after_seconds=seconds - now % seconds,
        )
