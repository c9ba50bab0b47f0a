"""Events as they come over the wire: decoded in one go when they are well-formed, one by one when they are not."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=255)]

# A JSON number beyond this is no quantity of anything, and the database's JSON type could not hold it.
LARGEST_EXPONENT = 300
# Deeper data tells nothing that a metric could read, and whoever writes it out again must not run out of stack.
DEEPEST = 100


class WireEvent(msgspec.Struct, gc=False):
    """A well-formed event; what is wrong with another is found by `draft_event`."""

    type: Name
    source: Name
    data: msgspec.Raw
    subject: Text | None = None
    externalSubject: Text | None = None  # noqa: N815 - the wire's name
    timestamp: Annotated[str, Meta(max_length=40)] | None = None
    idempotencyKey: Text | None = None  # noqa: N815
    externalId: Annotated[str, Meta(max_length=255, pattern="^[A-Za-z0-9_-]*$")] | None = None  # noqa: N815
    namespace: str | None = None


class MalformedError(ValueError):
    """The bytes are no JSON."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line of many that is no JSON: its own problem, not that of its neighbours."""

    reason: str


class TooManyError(ValueError):
    """More values than were asked for."""


_one = msgspec.json.Decoder(WireEvent)
_many = msgspec.json.Decoder(list[WireEvent])
# Exact numbers: 0.1 stays 0.1.
_anything = msgspec.json.Decoder(float_hook=Decimal)


def read_event(body: bytes) -> Any:
    """Give one event: a `WireEvent` when it is well-formed, else whatever JSON it is.

    Raises:
        MalformedError: it is no JSON.
    """
    if is_plain(body):
        try:
            return _one.decode(body)
        except (msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            pass
        except msgspec.DecodeError as error:
            raise MalformedError(str(error)) from None
    return decode(body)


def read_events(body: bytes, *, is_lines: bool, at_most: int) -> Any:
    """Give many events from a JSON array, or from one JSON value a line.

    Of lines, one that is no JSON becomes an `Unreadable`, unless none of them is any.

    Args:
        at_most: lines that are read; an array is read whole.

    Raises:
        MalformedError: it is no JSON.
        TooManyError: there are more lines.
    """
    if is_lines:
        return _read_lines(body, at_most)
    if is_plain(body):
        try:
            return _many.decode(body)
        except (msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            pass
        except msgspec.DecodeError as error:
            raise MalformedError(str(error)) from None
    return decode(body)


def _read_lines(body: bytes, at_most: int) -> list[Any]:
    if is_plain(body) and body.count(b"\n") <= at_most:
        try:
            return _one.decode_lines(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    lines = [line for line in body.splitlines() if line.strip()]
    if len(lines) > at_most:
        raise TooManyError(f"there are {len(lines)} lines")
    found: list[Any] = []
    for line in lines:
        try:
            found.append(read_event(line))
        except MalformedError as error:
            found.append(Unreadable(str(error)))
    if found and all(isinstance(value, Unreadable) for value in found):
        raise MalformedError(found[0].reason)
    return found


def is_plain(body: bytes) -> bool:
    """Whether no string of the body has an escape: then none can hold a NUL, a surrogate or a control character."""
    return b"\\" not in body


def decode(body: bytes) -> Any:
    """Decode any JSON with exact numbers.

    Raises:
        MalformedError: it is no JSON.
    """
    try:
        return _anything.decode(body)
    except RecursionError:
        raise MalformedError("it is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise MalformedError(str(error)) from None


def is_too_deep(value: Any) -> bool:
    """Tell whether a decoded object or array has more than `DEEPEST` levels of them within each other."""
    level = [value]
    for _ in range(DEEPEST):
        inner = [one for found in level for one in (found.values() if isinstance(found, dict) else found)]
        level = [found for found in inner if isinstance(found, dict | list)]
        if not level:
            return False
    return True


def decode_object(text: str) -> dict[str, Any]:
    """Decode the data of a stored event, with the numbers that it was counted by when it came."""
    data: dict[str, Any] = decode(text.encode())
    return data


def decode_data(raw: msgspec.Raw) -> Any:
    """Decode the data of a well-formed event.

    Raises:
        MalformedError: it is no JSON.
    """
    return decode(bytes(raw))


def as_mapping(event: WireEvent) -> dict[str, Any]:
    """Give a well-formed event as the mapping it came as."""
    named = {name: getattr(event, name) for name in event.__struct_fields__ if name != "data"}
    return {**{name: value for name, value in named.items() if value is not None}, "data": decode_data(event.data)}
