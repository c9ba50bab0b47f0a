from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_decoder = msgspec.json.Decoder(dict[str, Any])


class WrittenJSON(Mapping[str, Any]):
    """A JSON object as it is stored; read when somebody asks for what is in it."""

    __slots__ = ("_read", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._read: dict[str, Any] | None = None

    def __getitem__(self, key: str) -> Any:
        return self._whole()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._whole())

    def __len__(self) -> int:
        return len(self._whole())

    def __repr__(self) -> str:
        return f"WrittenJSON({self.text!r})"

    def _whole(self) -> dict[str, Any]:
        if self._read is None:
            self._read = _decoder.decode(self.text)
        return self._read
