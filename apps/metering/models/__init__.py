from apps.metering.models.corrections import BackfillJob, EventVoid, JobStatus, VoidJob
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
    "BackfillJob",
    "DeadLetter",
    "Dimension",
    "EventConflict",
    "EventVoid",
    "ImportJob",
    "JobStatus",
    "MeterEvent",
    "StagedEvent",
    "Subject",
    "UsageWindow",
    "VoidJob",
]
