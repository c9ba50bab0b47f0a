"""Outbox events are frozen dataclasses; registering one gives it its name on the wire."""

from collections.abc import Callable
from typing import TypeVar

EventClass = TypeVar("EventClass", bound=type)

REGISTRY: dict[str, type] = {}
_NAMES: dict[type, str] = {}


def outbox_event(name: str) -> Callable[[EventClass], EventClass]:
    """Register a frozen dataclass as the event `name` (noun.verb.version)."""

    def register(cls: EventClass) -> EventClass:
        if name in REGISTRY:
            raise ValueError(f"outbox event {name} is registered twice")
        REGISTRY[name] = cls
        _NAMES[cls] = name
        return cls

    return register


def event_name(event: object) -> str:
    """Give the registered name of an event object."""
    return _NAMES[type(event)]
