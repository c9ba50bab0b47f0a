"""From an event of the wire to a draft: quickly when it is well-formed, with every problem named when it is not."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from secrets import token_hex
from typing import Any

import msgspec

from apps.kernel.time import parse_instant
from apps.metering.domain.content import OutOfRangeError, canonical, content_hash, exact_json
from apps.metering.domain.drafts import EventDraft, Group, Problem, Target
from apps.metering.domain.paths import SMALL, group_value, quantity_text, value_at
from apps.metering.domain.wire import MalformedError, WireEvent, as_mapping
from apps.metering.selectors.registry import MetricShape, metrics_fed_by
from apps.metering.services.interning import digest_of

EXTERNAL_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
FIRST_YEAR, LAST_YEAR = 1970, 9000


class Drafter:
    """Makes drafts of the events of one call: what they share is looked up once.

    Args:
        organization_id: merchant whose metrics count.
        organization_public_id: the only namespace that is accepted.
        as_of: time of an event that names none.
    """

    def __init__(self, *, organization_id: int, organization_public_id: str, as_of: datetime) -> None:
        self.organization_id = organization_id
        self.organization_public_id = organization_public_id
        self.as_of = as_of
        self._shapes: dict[str, tuple[MetricShape, ...]] = {}
        self._prefix = token_hex(8)
        self._made = 0
        self._has_decimals = False
        # Exact numbers: 0.1 stays 0.1; the hook also tells that there are any.
        self._data = msgspec.json.Decoder(dict[str, Any], float_hook=self._decimal)

    def draft(self, event: Any) -> EventDraft | list[Problem]:
        """Check one event and work out what it counts for.

        Args:
            event: a `WireEvent`, or any decoded JSON value.

        Returns:
            The draft, or every problem of the event. An unknown type is the only problem of code
            UNKNOWN_EVENT_TYPE.
        """
        if isinstance(event, WireEvent):
            drafted = self._quickly(event)
            if drafted is not None:
                return drafted
            try:
                event = as_mapping(event)
            except MalformedError as error:
                return [Problem("invalid", "data", f"The data is not valid JSON: {error}")]
        return self._carefully(event)

    def _quickly(self, event: WireEvent) -> EventDraft | None:
        """Give the draft of a flawless event, None for one that needs a closer look."""
        subject = event.subject or ""
        external_subject = event.externalSubject or ""
        if (not subject and not external_subject) or (
            event.namespace is not None and event.namespace != self.organization_public_id
        ):
            return None
        occurred_at = self._instant(event.timestamp) if event.timestamp is not None else self.as_of
        shapes = self._shapes_of(event.type)
        if occurred_at is None or not shapes:
            return None
        self._has_decimals = False
        try:
            data = self._data.decode(event.data)
            text = canonical(data, has_decimals=self._has_decimals)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None
        raw = bytes(event.data).decode()
        draft = EventDraft(
            event.type,
            event.source,
            subject or external_subject,
            not subject,
            external_subject,
            raw,
            "",
            occurred_at,
            event.idempotencyKey or self._new_id("auto"),
            event.externalId or "",
            self._new_id("evt"),
        )
        draft.content = _content(draft, text)
        _apply(shapes, draft, data)
        return None if draft.ignored_by and not draft.targets else draft

    def _carefully(self, raw: Any) -> EventDraft | list[Problem]:
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
        if namespace and namespace != self.organization_public_id:
            problems.append(Problem("foreign_namespace", "namespace", "This key cannot write there."))
        data, text = _data(raw, problems)
        occurred_at = self.as_of
        if raw.get("timestamp") is not None:
            found = self._instant(raw["timestamp"])
            if found is None:
                message = "Give an ISO 8601 instant, such as 2026-01-31T12:00:00Z."
                problems.append(Problem("invalid", "timestamp", message))
            else:
                occurred_at = found
        if problems:
            return problems
        shapes = self._shapes_of(event_type)
        if not shapes:
            return [
                Problem("UNKNOWN_EVENT_TYPE", "type", f"No billable metric counts events of type {event_type!r}.")
            ]
        draft = EventDraft(
            event_type=event_type,
            source=source,
            subject=subject or external_subject,
            is_external=not subject,
            external_subject=external_subject,
            data=exact_json(data),
            content="",
            occurred_at=occurred_at,
            idempotency_key=key or self._new_id("auto"),
            external_id=external_id,
            public_id=self._new_id("evt"),
        )
        draft.content = _content(draft, text)
        _apply(shapes, draft, data)
        if draft.ignored_by and not draft.targets:
            return _unusable(shapes, draft)
        return draft

    def _shapes_of(self, event_type: str) -> tuple[MetricShape, ...]:
        shapes = self._shapes.get(event_type)
        if shapes is None:
            shapes = metrics_fed_by(organization_id=self.organization_id, event_type=event_type)
            self._shapes[event_type] = shapes
        return shapes

    def _new_id(self, prefix: str) -> str:
        """Give an id with 64 random bits of the call and the number of the event in it."""
        self._made += 1
        return f"{prefix}_{self._prefix}{self._made:04x}"

    def _decimal(self, text: str) -> Decimal:
        self._has_decimals = True
        return Decimal(text)

    @staticmethod
    def _instant(value: Any) -> datetime | None:
        if not isinstance(value, str) or len(value) > 40:
            return None
        try:
            instant = datetime.fromisoformat(value)
            if instant.tzinfo is not UTC:
                instant = instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
        except (ValueError, OverflowError):
            try:
                instant = parse_instant(value)
            except (ValueError, OverflowError):
                return None
        return instant if FIRST_YEAR <= instant.year <= LAST_YEAR else None


def _content(draft: EventDraft, data: bytes) -> str:
    """Hash what an event says. A time the server filled in is no part of it: a repeat without one is a repeat."""
    kind = "external" if draft.is_external else "own"
    return content_hash(draft.event_type, draft.source, draft.subject, kind, draft.external_id, data=data)


def _apply(shapes: Sequence[MetricShape], draft: EventDraft, data: dict[str, Any]) -> None:
    """Work out what an event counts for, metric by metric."""
    group: Group | None = None
    targets: list[Target] = []
    for metric in shapes:
        if metric.event_from is not None and draft.occurred_at < metric.event_from:
            continue
        if not metric.group_names:
            group = None
        elif group is None or group[0] is not metric.group_names:
            group = (metric.group_names, tuple([group_value(value_at(data, steps)) for steps in metric.group_steps]))
        quantity = "1"
        value_hash: str | None = None
        if metric.aggregation == "UNIQUE_COUNT":
            raw = value_at(data, metric.value_steps) if metric.value_steps else draft.idempotency_key
            if raw is None or isinstance(raw, dict | list):
                draft.ignored_by.append((metric.public_id, f"There is no plain value at {metric.value_path}."))
                continue
            value_hash = digest_of(group_value(raw)).hex
        elif metric.aggregation != "COUNT":
            raw = value_at(data, metric.value_steps)
            found = str(raw) if type(raw) is int and -SMALL < raw < SMALL else quantity_text(raw)
            if found is None:
                reason = f"The value at {metric.value_path} is not a number with at most 9 decimal places."
                draft.ignored_by.append((metric.public_id, reason))
                continue
            quantity = found
        targets.append((metric.id, group))
        draft.quantities.append(quantity)
        draft.hashes.append(value_hash)
    draft.targets = tuple(targets)


def _unusable(shapes: Sequence[MetricShape], draft: EventDraft) -> list[Problem]:
    paths = {shape.public_id: shape.value_path for shape in shapes}
    return [
        Problem("INVALID_VALUE", f"data{paths[metric].removeprefix('$')}", reason)
        for metric, reason in draft.ignored_by
    ]


def _data(raw: Mapping[str, Any], problems: list[Problem]) -> tuple[dict[str, Any], bytes]:
    data = raw.get("data")
    if not isinstance(data, dict):
        problems.append(Problem("invalid", "data", "Give an object."))
        return {}, b""
    try:
        text = canonical(data)
    except OutOfRangeError as error:
        problems.append(Problem("invalid", "data", f"The number {error} is out of range."))
        return {}, b""
    except (UnicodeEncodeError, TypeError, RecursionError):
        problems.append(Problem("invalid", "data", "Text must be valid Unicode."))
        return {}, b""
    if b"\\u0000" in text:
        problems.append(Problem("invalid", "data", "Text must not contain the NUL character."))
    return data, text


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
