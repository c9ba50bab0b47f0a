"""One text for one meaning: JSON with ordered keys and numbers that look the same when they are the same."""

import json
from collections.abc import Mapping
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import msgspec

from apps.metering.domain.wire import LARGEST_EXPONENT

_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")


class OutOfRangeError(ValueError):
    """A number too large or too small for any use."""


def canonical(data: Any, *, has_decimals: bool = True) -> bytes:
    """Give data as canonical JSON.

    Args:
        data: decoded JSON, its fractions as Decimal.
        has_decimals: False when it is known to hold whole numbers only, which are canonical as they are.

    Raises:
        OutOfRangeError: a number is beyond any use.
    """
    plain = _plain(data) if has_decimals else data
    try:
        return _encoder.encode(plain)
    except OverflowError:
        # Whole numbers beyond 64 bits, which the fast encoder refuses.
        return json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def exact_json(value: Any) -> str:
    """Give decoded JSON as text again, every digit of its numbers kept."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_text(str(key))}:{exact_json(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(exact_json(inner) for inner in value) + "]"
    if isinstance(value, Decimal):
        return str(value)
    return _text(value)


def content_hash(*parts: str, data: bytes) -> str:
    """Give the 128-bit hash, in hex, of what an event says; parts hold no NUL character."""
    return blake2b("\x00".join(parts).encode() + b"\x00" + data, digest_size=16).hexdigest()


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, Decimal):
        if not value.is_finite() or abs(value.adjusted()) > LARGEST_EXPONENT:
            raise OutOfRangeError(str(value)[:40])
        return int(value) if value == value.to_integral_value() else value.normalize()
    return value
