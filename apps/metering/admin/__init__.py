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
from apps.metering.admin.retention import EventExportAdmin, RetentionAdmin

__all__ = [
    "BackfillJobAdmin",
    "DeadLetterAdmin",
    "DimensionAdmin",
    "EventConflictAdmin",
    "EventExportAdmin",
    "EventVoidAdmin",
    "ImportJobAdmin",
    "MeterEventAdmin",
    "ParkedEventAdmin",
    "RetentionAdmin",
    "SubjectAdmin",
    "UsageWindowAdmin",
    "VoidJobAdmin",
]
