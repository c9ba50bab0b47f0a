"""JSON with exact numbers, as the standard library's `json` takes it: by an encoder and a decoder."""

import json
from decimal import Decimal
from typing import Any

import msgspec

_plain = msgspec.json.Encoder(decimal_format="number")
_sorted = msgspec.json.Encoder(decimal_format="number", order="sorted")


class ExactJSONEncoder(json.JSONEncoder):
    """Write a Decimal as a number with all its digits."""

    def encode(self, o: Any) -> str:
        return (_sorted if self.sort_keys else _plain).encode(o).decode()


class ExactJSONDecoder(json.JSONDecoder):
    """Read numbers that are not whole as Decimal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parse_float": Decimal})
