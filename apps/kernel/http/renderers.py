from typing import Any

import msgspec
from rest_framework.renderers import BaseRenderer

_encoder = msgspec.json.Encoder(decimal_format="number", enc_hook=str)


def encode_answer(data: Any) -> bytes:
    return _encoder.encode(data)


class ContractJSONRenderer(BaseRenderer):
    """Write JSON with exact numbers: a Decimal becomes a JSON number with all its digits.

    Money leaves as text, which its serializers make; quantities leave as numbers, as the wire wants them.
    """

    media_type = "application/json"
    format = "json"
    charset = None

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else encode_answer(data)
