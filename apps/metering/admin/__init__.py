from apps.metering.admin.corrections import BackfillJobAdmin, EventVoidAdmin, VoidJobAdmin
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
    "BackfillJobAdmin",
    "DeadLetterAdmin",
    "DimensionAdmin",
    "EventConflictAdmin",
    "EventVoidAdmin",
    "ImportJobAdmin",
    "MeterEventAdmin",
    "SubjectAdmin",
    "UsageWindowAdmin",
    "VoidJobAdmin",
]
