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
from apps.metering.admin.parking import ParkedEventAdmin

__all__ = [
    "BackfillJobAdmin",
    "DeadLetterAdmin",
    "DimensionAdmin",
    "EventConflictAdmin",
    "EventVoidAdmin",
    "ImportJobAdmin",
    "MeterEventAdmin",
    "ParkedEventAdmin",
    "SubjectAdmin",
    "UsageWindowAdmin",
    "VoidJobAdmin",
]
