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
from apps.metering.models.parking import ParkedEvent, ParkReason, ParkState
from apps.metering.models.retention import EventExport, Retention
from apps.metering.models.windows import UsageWindow

__all__ = [
    "BackfillJob",
    "DeadLetter",
    "Dimension",
    "EventConflict",
    "EventExport",
    "EventVoid",
    "ImportJob",
    "JobStatus",
    "MeterEvent",
    "ParkReason",
    "ParkState",
    "ParkedEvent",
    "Retention",
    "StagedEvent",
    "Subject",
    "UsageWindow",
    "VoidJob",
]
