import logging

import redis

from apps.kernel.broker import broker
from apps.kernel.clock import wall_now
from apps.kernel.errors import RateLimitedError

logger = logging.getLogger(__name__)


def limit_rate(*, name: str, caller: int, calls: int, seconds: int = 1) -> None:
    """Refuse a caller's call above so many in a fixed window; without a broker everything passes.

    Raises:
        RateLimitedError: with the wait until the next window.
    """
    now = int(wall_now().timestamp())
    key = f"rate:{name}:{caller}:{now // seconds}"
    try:
        with broker().pipeline(transaction=False) as pipe:
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
