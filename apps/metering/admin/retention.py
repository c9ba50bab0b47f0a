from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.decorators import display

from apps.kernel.adminsite.base import BillingModelAdmin, ReadOnlyModelAdmin
from apps.metering.models import EventExport, Retention


class InstallationModelAdmin(ReadOnlyModelAdmin):
    """A screen about the whole installation, which no merchant's data stands on: for engineers and owners."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super(BillingModelAdmin, self).get_queryset(request)
        return rows

    def allows(self, request: HttpRequest, right: str, obj: Any = None) -> bool:
        return super().allows(request, "develop") and super().allows(request, right)


@admin.register(EventExport)
class EventExportAdmin(InstallationModelAdmin):
    """Months of raw events in files, and which of them are dropped."""

    empty_text = "Months of raw events that events_export wrote are listed here."
    list_display = ["shown", "number", "row_count", "state", "exported_at", "verified_at", "dropped_at", "folder"]
    ordering = ["-month", "-number"]

    @display(description="Month", ordering="month")
    def shown(self, export: EventExport) -> str:
        return str(export)

    @display(description="State", label={"exported": "warning", "verified": "success", "dropped": "info"})
    def state(self, export: EventExport) -> str:
        if export.dropped_at is not None:
            return "dropped"
        return "exported" if export.verified_at is None else "verified"


@admin.register(Retention)
class RetentionAdmin(InstallationModelAdmin):
    """Up to when raw events are dropped and keys may be forgotten."""

    empty_text = "What is kept for how long is set in the environment."
    list_display = ["__str__", "raw_gone_until", "keys_gone_until"]
