"""Events as they come over the wire: decoded in one go when they are well-formed, one by one when they are not."""

from decimal import Decimal
from typing import Annotated, Any

import msgspec
from msgspec import Meta

Name = Annotated[str, Meta(min_length=1, max_length=255)]
Text = Annotated[str, Meta(max_length=255)]

# A JSON number beyond this is no quantity of anything, and the database's JSON type could not hold it.
LARGEST_EXPONENT = 300


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
        except (msgspec.ValidationError, UnicodeDecodeError):
            pass
        except msgspec.DecodeError as error:
            raise MalformedError(str(error)) from None
    return decode(body)


def read_events(body: bytes, *, is_lines: bool) -> Any:
    """Give many events from a JSON array, or from one JSON value a line.

    Raises:
        MalformedError: it is no JSON.
    """
    if is_plain(body):
        try:
            return _one.decode_lines(body) if is_lines else _many.decode(body)
        except (msgspec.ValidationError, UnicodeDecodeError):
            pass
        except msgspec.DecodeError as error:
            raise MalformedError(str(error)) from None
    if is_lines:
        return [decode(line) for line in body.splitlines() if line.strip()]
    return decode(body)


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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise MalformedError(str(error)) from None


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
