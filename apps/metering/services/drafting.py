"""From an event of the wire to a draft: quickly when it is well-formed, with every problem named when it is not."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec

from apps.kernel.time import parse_instant
from apps.metering.domain.content import OutOfRangeError, canonical, content_hash, exact_json
from apps.metering.domain.drafts import EventDraft, Problem
from apps.metering.domain.keys import stamp
from apps.metering.domain.wire import DEEPEST, MalformedError, Unreadable, WireEvent, as_mapping, is_too_deep
from apps.metering.selectors.registry import MetricShape, metrics_fed_by
from apps.metering.services.counting import Counter

EXTERNAL_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")
FIRST_YEAR, LAST_YEAR = 1970, 9000
KEPT_COUNTERS = 1_000


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
        self._counters: dict[str, Counter | None] = {}
        self._prefix = stamp(as_of)
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
        counter = self._counter_of(event.type)
        if occurred_at is None or counter is None:
            return None
        self._has_decimals = False
        try:
            data = self._data.decode(event.data)
            text = canonical(data, has_decimals=self._has_decimals)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
            return None
        raw = bytes(event.data).decode()
        if raw.count("{") + raw.count("[") > DEEPEST and is_too_deep(data):
            return None
        key = event.idempotencyKey or self._new_id("auto")
        targets, quantities, hashes, ignored_by = counter.count(data, occurred_at=occurred_at, key=key)
        if ignored_by and not targets.pairs:
            return None
        return EventDraft(
            event.type,
            event.source,
            subject or external_subject,
            not subject,
            external_subject,
            raw,
            _content(event.type, event.source, subject or external_subject, not subject, event.externalId, text),
            occurred_at,
            _moment(event.timestamp, occurred_at),
            key,
            event.externalId or "",
            self._new_id("evt"),
            # A body read this way has no escapes, so its strings hold no control characters; between them may be any
            # white space.
            "\n" not in raw and "\t" not in raw and "\r" not in raw,
            targets,
            quantities,
            hashes,
            ignored_by,
        )

    def _carefully(self, raw: Any) -> EventDraft | list[Problem]:
        if isinstance(raw, Unreadable):
            return [Problem("malformed", "", f"The line is not valid JSON: {raw.reason}")]
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
        counter = self._counter_of(event_type)
        if counter is None:
            return [
                Problem("UNKNOWN_EVENT_TYPE", "type", f"No billable metric counts events of type {event_type!r}.")
            ]
        key = key or self._new_id("auto")
        targets, quantities, hashes, ignored_by = counter.count(data, occurred_at=occurred_at, key=key)
        if ignored_by and not targets.pairs:
            return _unusable(counter, ignored_by)
        name = subject or external_subject
        return EventDraft(
            event_type=event_type,
            source=source,
            subject=name,
            is_external=not subject,
            external_subject=external_subject,
            data=exact_json(data),
            content=_content(event_type, source, name, not subject, external_id, text),
            occurred_at=occurred_at,
            moment=occurred_at.isoformat(),
            idempotency_key=key,
            external_id=external_id,
            public_id=self._new_id("evt"),
            is_plain=False,
            targets=targets,
            quantities=quantities,
            hashes=hashes,
            ignored_by=ignored_by,
        )

    def _counter_of(self, event_type: str) -> Counter | None:
        """Give what counts events of a type; None when nothing does."""
        try:
            return self._counters[event_type]
        except KeyError:
            shapes = metrics_fed_by(organization_id=self.organization_id, event_type=event_type)
            counter = _kept_counter(shapes) if shapes else None
            self._counters[event_type] = counter
            return counter

    def _new_id(self, prefix: str) -> str:
        """Give an id with the moment and 48 random bits of the call, and the number of the event in it."""
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


# By the metrics themselves, which the registry gives as the same object for as long as they do not change.
_counters: dict[int, Counter] = {}


def _kept_counter(shapes: tuple[MetricShape, ...]) -> Counter:
    counter = _counters.get(id(shapes))
    if counter is None or counter.shapes is not shapes:
        if len(_counters) >= KEPT_COUNTERS:
            _counters.clear()
        counter = _counters[id(shapes)] = Counter(shapes)
    return counter


def _content(
    event_type: str, source: str, subject: str, is_external: bool, external_id: str | None, data: bytes
) -> str:
    """Hash what an event says. A time the server filled in is no part of it: a repeat without one is a repeat."""
    kind = "external" if is_external else "own"
    return content_hash(event_type, source, subject, kind, external_id or "", data=data)


def _moment(text: str | None, instant: datetime) -> str:
    """Give an instant as text for the database: as it came where that is of the plainest form."""
    if text is not None and len(text) == 20 and text[19] == "Z" and text[4] == text[7] == "-" and text[10] == "T":
        return text
    return instant.isoformat()


def _unusable(counter: Counter, ignored_by: tuple[tuple[str, str], ...]) -> list[Problem]:
    paths = {shape.public_id: shape.value_path for shape in counter.shapes}
    return [
        Problem("INVALID_VALUE", f"data{paths[metric].removeprefix('$')}", reason) for metric, reason in ignored_by
    ]


def _data(raw: Mapping[str, Any], problems: list[Problem]) -> tuple[dict[str, Any], bytes]:
    data = raw.get("data")
    if not isinstance(data, dict):
        problems.append(Problem("invalid", "data", "Give an object."))
        return {}, b""
    if is_too_deep(data):
        problems.append(Problem("invalid", "data", f"Nest at most {DEEPEST} objects and lists within each other."))
        return {}, b""
    try:
        text = canonical(data)
    except OutOfRangeError as error:
        problems.append(Problem("invalid", "data", f"The number {error} is out of range."))
        return {}, b""
    except (UnicodeEncodeError, TypeError):
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
