"""Where stored events are read: PostgreSQL, or a column store that a relay fills from it."""

import threading
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.module_loading import import_string

from apps.metering.eventstore.base import EventStore, Span, StoreUnavailableError
from apps.metering.eventstore.postgresql import PostgresqlStore

# By the scheme of EVENT_STORE_URL; loaded only when chosen, because their client libraries are optional.
REGISTRY = {
    "": "apps.metering.eventstore.postgresql.PostgresqlStore",
    "clickhouse": "apps.metering.eventstore.clickhouse.ClickHouseStore",
    "clickhouses": "apps.metering.eventstore.clickhouse.ClickHouseStore",
}

_stores: dict[str, EventStore] = {}
_lock = threading.Lock()


def event_store() -> EventStore:
    """Give the store that EVENT_STORE_URL names, the same for all threads of the process."""
    url: str = settings.EVENT_STORE_URL
    store = _stores.get(url)
    if store is None:
        with _lock:
            store = _stores.get(url)
            if store is None:
                store = _stores[url] = import_string(REGISTRY[urlsplit(url).scheme])()
    return store


__all__ = [
    "REGISTRY",
    "EventStore",
    "PostgresqlStore",
    "Span",
    "StoreUnavailableError",
    "event_store",
]
