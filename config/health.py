"""Is the process up, and is the whole stack ready to take money?"""

from collections.abc import Callable
from datetime import timedelta

import redis
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest, JsonResponse
from django.utils.dateparse import parse_datetime

from apps.kernel.clock import wall_now
from apps.metering.eventlog import event_log

STALE = timedelta(seconds=60)


def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 whenever this process can answer at all."""
    return JsonResponse({"status": "ok"})


def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database, broker, worker and beat are all there, else 503 naming what is not."""
    checks = {name: outcome(check) for name, check in CHECKS.items()}
    ready = all(outcome == "ok" for outcome in checks.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": checks}, status=200 if ready else 503)


def outcome(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:  # a probe reports every failure and raises none
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _broker() -> str:
    client = redis.Redis.from_url(settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1)
    try:
        client.ping()
    finally:
        client.close()
    return "ok"


def _event_log() -> str:
    """Ask every part of an event log in front of the database."""
    log = event_log()
    for shard in log.shards:
        log.end_of(shard)
    return "ok"


def heartbeat_age(name: str) -> timedelta | None:
    """Give how long ago a part was last seen to work; None when it never was."""
    beat = parse_datetime(cache.get(f"heartbeat:{name}") or "")
    return None if beat is None else wall_now() - beat


def _heartbeat(name: str) -> str:
    age = heartbeat_age(name)
    if age is None:
        return f"no heartbeat of the {name} yet"
    return "ok" if age < STALE else f"last heartbeat of the {name} {int(age.total_seconds())} s ago"


CHECKS: dict[str, Callable[[], str]] = {
    "database": _database,
    "broker": _broker,
    "event log": _event_log,
    "worker": lambda: _heartbeat("worker"),
    "merger": lambda: _heartbeat("merger"),
    "beat": lambda: _heartbeat("beat"),
}
