from apps.metering.admin.events import (
    DeadLetterAdmin,
    DimensionAdmin,
    EventConflictAdmin,
    ImportJobAdmin,
    MeterEventAdmin,
    SubjectAdmin,
    UsageWindowAdmin,
)

__all__ = [
    "DeadLetterAdmin",
    "DimensionAdmin",
    "EventConflictAdmin",
    "ImportJobAdmin",
    "MeterEventAdmin",
    "SubjectAdmin",
    "UsageWindowAdmin",
]
