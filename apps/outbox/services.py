import dataclasses
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.kernel.money import format_decimal
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
    return OutboxEvent.objects.create(
        organization_id=organization_id,
        event_type=event_name(event),
        object_id=object_id,
        payload=payload_of(event),
        occurred_at=at,
    )


def payload_of(event: Any) -> dict[str, Any]:
    """Give the JSON payload of an event: camelCase keys, decimals and instants as strings."""
    return {_camel(f.name): _plain(getattr(event, f.name)) for f in dataclasses.fields(event)}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, datetime):
        return format_instant(value)
    return value
