import dataclasses
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import Any

import msgspec

from apps.kernel.money import format_decimal
from apps.kernel.rows import insert_values
from apps.kernel.time import format_instant
from apps.outbox.domain.events import event_name
from apps.outbox.models import OutboxEvent


def publish(event: Any, *, organization_id: int, object_id: str, at: datetime) -> OutboxEvent:
    """Write an announcement beside the change that caused it; call inside that transaction.

    Args:
        event: a registered frozen dataclass; its fields become the payload.
        organization_id: internal id of the merchant.
        object_id: public id of what changed.
        at: instant of the change in the object's own time.
    """
    row = _row(Announcement(event, organization_id, object_id, at))
    row.save()
    return row


class Announcement(msgspec.Struct, frozen=True):
    """One of many events; its fields are the arguments of `publish`."""

    event: Any
    organization_id: int
    object_id: str
    at: datetime


def publish_all(announcements: Sequence[Announcement]) -> None:
    """Write many announcements at once, in their order (caller's transaction)."""
    insert_values(
        OutboxEvent,
        ("organization_id", "event_type", "object_id", "payload", "occurred_at"),
        [
            (told.organization_id, event_name(told.event), told.object_id, payload_of(told.event), told.at)
            for told in announcements
        ],
    )


def _row(announcement: Announcement) -> OutboxEvent:
    return OutboxEvent(
        organization_id=announcement.organization_id,
        event_type=event_name(announcement.event),
        object_id=announcement.object_id,
        payload=payload_of(announcement.event),
        occurred_at=announcement.at,
    )


def payload_of(event: Any) -> dict[str, Any]:
    """Give the JSON payload of an event: camelCase keys, decimals and instants as strings."""
    values, keys = _fields_of(type(event))  # type: ignore[arg-type]
    return {
        key: value if type(value) is str else _plain(value) for key, value in zip(keys, values(event), strict=True)
    }


@cache
def _fields_of(kind: type) -> tuple[Callable[[Any], tuple[Any, ...]], list[str]]:
    """Give what reads the fields of a kind of event, and the keys of its payload."""
    names = [field.name for field in dataclasses.fields(kind)]
    # Of a single name the getter gives no tuple.
    read = attrgetter(*names) if len(names) > 1 else lambda event: tuple(getattr(event, name) for name in names)
    return read, [_camel(name) for name in names]


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, datetime):
        return format_instant(value)
    return value
