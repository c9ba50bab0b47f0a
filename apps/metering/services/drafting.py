import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from apps.kernel.ids import new_id
from apps.kernel.time import parse_instant
from apps.metering.domain.drafts import EventDraft, Problem
from apps.metering.domain.paths import group_value, to_quantity, value_at
from apps.metering.selectors.registry import MetricShape, metrics_fed_by
from apps.metering.services.interning import canonical, digest_of

EXTERNAL_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
ONE = Decimal(1)


def draft_event(
    raw: Any, *, organization_id: int, organization_public_id: str, as_of: datetime
) -> EventDraft | list[Problem]:
    """Check one event of the wire and work out what it counts for.

    Args:
        raw: the decoded JSON value.
        organization_id: merchant whose metrics count.
        organization_public_id: the only namespace that is accepted.
        as_of: time of an event that names none.

    Returns:
        The draft, or every problem of the event. An unknown type is the only problem of code UNKNOWN_EVENT_TYPE.
    """
    if not isinstance(raw, Mapping):
        return [Problem("invalid", "", "An event is a JSON object.")]
    problems: list[Problem] = []
    event_type = _text(raw, "type", problems, required=True)
    source = _text(raw, "source", problems, required=True)
    subject = _text(raw, "subject", problems)
    external_subject = _text(raw, "externalSubject", problems)
    key = _text(raw, "idempotencyKey", problems)
    external_id = _text(raw, "externalId", problems)
    namespace = _text(raw, "namespace", problems)
    if external_id and not EXTERNAL_ID.fullmatch(external_id):
        problems.append(Problem("invalid", "externalId", "Use letters, digits, - and _ only."))
    if not subject and not external_subject and not any(p.field.endswith("ubject") for p in problems):
        problems.append(Problem("required", "subject", "Give subject or externalSubject."))
    if namespace and namespace != organization_public_id:
        problems.append(Problem("foreign_namespace", "namespace", "This key cannot write there."))
    data = raw.get("data")
    if not isinstance(data, Mapping):
        problems.append(Problem("invalid", "data", "Give an object."))
        data = {}
    elif "\\u0000" in canonical_or_empty(data):
        problems.append(Problem("invalid", "data", "Text must not contain the NUL character."))
    occurred_at = _instant(raw, as_of, problems)
    if problems:
        return problems
    metrics = metrics_fed_by(organization_id=organization_id, event_type=event_type)
    if not metrics:
        return [Problem("UNKNOWN_EVENT_TYPE", "type", f"No billable metric counts events of type {event_type!r}.")]
    draft = EventDraft(
        event_type=event_type,
        source=source,
        subject=subject or external_subject,
        is_external=not subject,
        external_subject=external_subject,
        data=data,
        occurred_at=occurred_at,
        idempotency_key=key or new_id("auto"),
        external_id=external_id,
        public_id=new_id("evt"),
    )
    for metric in metrics:
        _apply(metric, draft)
    if draft.ignored_by and not draft.effects:
        return [
            Problem("INVALID_VALUE", f"data{metric.value_path.removeprefix('$')}", reason)
            for metric, (_, reason) in zip(metrics, draft.ignored_by, strict=False)
        ]
    return draft


def canonical_or_empty(data: Mapping[str, Any]) -> str:
    """Give the data as canonical JSON with exact numbers as text."""
    return canonical(_plain(data))


def content_text(draft: EventDraft) -> str:
    """Give all an event says, to tell a repeat from another event under the same key.

    A time that the server filled in is not part of it: a repeat without one is still a repeat.
    """
    return canonical_or_empty(
        {
            "type": draft.event_type,
            "source": draft.source,
            "subject": draft.subject,
            "external": draft.is_external,
            "externalId": draft.external_id,
            "data": draft.data,
        }
    )


def _apply(metric: MetricShape, draft: EventDraft) -> None:
    if metric.event_from is not None and draft.occurred_at < metric.event_from:
        return
    group = None
    if metric.group_paths:
        group = canonical({name: group_value(value_at(draft.data, path)) for name, path in metric.group_paths})
    if metric.aggregation == "COUNT":
        draft.effects.append((metric.id, group, ONE, None))
        return
    if metric.aggregation == "UNIQUE_COUNT":
        raw = value_at(draft.data, metric.value_path) if metric.value_path else draft.idempotency_key
        if raw is None or isinstance(raw, Mapping | list):
            draft.ignored_by.append((metric.public_id, f"There is no plain value at {metric.value_path}."))
            return
        draft.effects.append((metric.id, group, ONE, str(digest_of(group_value(raw)))))
        return
    value = to_quantity(value_at(draft.data, metric.value_path))
    if value is None:
        reason = f"The value at {metric.value_path} is not a number with at most 9 decimal places."
        draft.ignored_by.append((metric.public_id, reason))
        return
    draft.effects.append((metric.id, group, value, None))


def _text(raw: Mapping[str, Any], name: str, problems: list[Problem], *, required: bool = False) -> str:
    value = raw.get(name)
    if value is None or value == "":
        if required:
            problems.append(Problem("required", name, "This field is required."))
        return ""
    if not isinstance(value, str) or len(value) > 255 or "\x00" in value or _has_surrogate(value):
        problems.append(Problem("invalid", name, "Give text of at most 255 characters."))
        return ""
    return value


def _has_surrogate(value: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in value)


def _instant(raw: Mapping[str, Any], as_of: datetime, problems: list[Problem]) -> datetime:
    value = raw.get("timestamp")
    if value is None:
        return as_of
    try:
        instant = parse_instant(value) if isinstance(value, str) and len(value) <= 40 else None
    except (ValueError, OverflowError):
        instant = None
    if instant is None or not 1970 <= instant.year <= 9000:
        problems.append(Problem("invalid", "timestamp", "Give an ISO 8601 instant, such as 2026-01-31T12:00:00Z."))
        return as_of
    return instant


def _plain(value: Any) -> Any:
    """Make decoded JSON hashable as text: numbers that mean the same look the same."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        # Written out only where that stays short: 1e999999 would be a megabyte.
        return format(value.normalize(), "f") if abs(value.adjusted()) < 60 else str(value.normalize())
    if isinstance(value, int) and not isinstance(value, bool):
        return format(Decimal(value).normalize(), "f") if abs(value) < 10**50 else str(value)
    return value
