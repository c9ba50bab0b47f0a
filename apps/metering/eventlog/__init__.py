"""Where accepted events are durable first: PostgreSQL, or a log of its own in front of it."""

import threading
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

from apps.metering.eventlog.base import Block, Delivery, EventLog, LogUnavailableError
from apps.metering.eventlog.postgresql import PostgresqlLog

# By the scheme of EVENT_LOG_URL; loaded only when chosen, because their client libraries are optional.
REGISTRY = {
    "": "apps.metering.eventlog.postgresql.PostgresqlLog",
    "nats": "apps.metering.eventlog.jetstream.JetStreamLog",
    "tls": "apps.metering.eventlog.jetstream.JetStreamLog",
}
STAGING = PostgresqlLog()

_logs: dict[str, EventLog] = {}
_lock = threading.Lock()


def event_log() -> EventLog:
    """Give the log that EVENT_LOG_URL names, the same for all threads of the process."""
    url: str = settings.EVENT_LOG_URL
    log = _logs.get(url)
    if log is None:
        with _lock:
            log = _logs.get(url)
            if log is None:
                log = _logs[url] = import_string(REGISTRY[urlsplit(url).scheme])()
    return log


__all__ = ["REGISTRY", "STAGING", "Block", "Delivery", "EventLog", "LogUnavailableError", "event_log"]
