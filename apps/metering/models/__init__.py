from apps.metering.models.events import (
    DeadLetter,
    Dimension,
    EventConflict,
    MeterEvent,
    StagedEvent,
    Subject,
)
from apps.metering.models.imports import ImportJob
from apps.metering.models.windows import UsageWindow

__all__ = [
    "DeadLetter",
    "Dimension",
    "EventConflict",
    "ImportJob",
    "MeterEvent",
    "StagedEvent",
    "Subject",
    "UsageWindow",
]
