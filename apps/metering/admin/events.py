from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.decorators import display

from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import quantity
from apps.metering.admin.explorer import explore_usage
from apps.metering.models import (
    DeadLetter,
    Dimension,
    EventConflict,
    ImportJob,
    MeterEvent,
    Subject,
    UsageWindow,
)
from apps.metering.services.letters import resolve_letter


@admin.register(MeterEvent)
class MeterEventAdmin(ReadOnlyModelAdmin):
    """Counted events as they came."""

    is_huge = True
    list_display = ["public_id", "event_type", "source", "subject_id", "occurred_at", "accepted_at", "data"]
    search_fields = ["=public_id", "=idempotency_key"]
    search_help_text = "Exact event id or idempotency key"
    ordering = ["-occurred_at"]


@admin.register(UsageWindow)
class UsageWindowAdmin(ReadOnlyModelAdmin):
    """Usage by metric, subject, hour and group."""

    is_huge = True
    list_display = ["metric", "subject", "dimension", "hour", "sum_shown", "count", "changed_at"]
    list_filter = ["metric"]
    search_fields = ["=subject__value"]
    search_help_text = "Exact customer id or own id"
    list_select_related = ["metric", "subject", "dimension"]
    ordering = ["-hour"]

    def get_urls(self) -> list[URLPattern]:
        explorer = self.admin_site.admin_view(self.explore)
        return [path("explore/", explorer, name="metering_usage_explorer"), *super().get_urls()]

    def explore(self, request: HttpRequest) -> HttpResponse:
        return explore_usage(request, self.admin_site.each_context(request))

    @display(description="Sum", ordering="sum")
    def sum_shown(self, window: UsageWindow) -> str:
        return quantity(window.sum)


@admin.register(Subject)
class SubjectAdmin(ReadOnlyModelAdmin):
    """Names that events carry."""

    list_display = ["value", "is_external", "organization", "created_at"]
    list_filter = ["organization", "is_external"]
    search_fields = ["value"]
    list_select_related = ["organization"]


@admin.register(Dimension)
class DimensionAdmin(ReadOnlyModelAdmin):
    """Combinations of group values."""

    list_display = ["metric", "values"]
    list_filter = ["metric"]
    list_select_related = ["metric"]


@admin.register(EventConflict)
class EventConflictAdmin(ReadOnlyModelAdmin):
    """Keys that came again with other content; the first content stands."""

    list_display = ["idempotency_key", "first_event_id", "content", "detected_at"]
    search_fields = ["idempotency_key", "first_event_id"]
    date_hierarchy = "detected_at"
    ordering = ["-id"]


def _resolve(call: Call) -> str:
    resolve_letter(letter_id=call.row.pk, as_of=call.now)
    return "Marked as dealt with."


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyModelAdmin):
    """What was accepted and could not be used, with the reason."""

    list_display = ["code", "message", "stage", "organization", "created_at", "resolved_at"]
    list_filter = ["organization", "stage", "code", ("resolved_at", admin.EmptyFieldListFilter)]
    search_fields = ["message"]
    list_select_related = ["organization"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    actions_detail = ["mark_as_resolved"]

    mark_as_resolved = service_action(
        title="Mark as resolved",
        permissions=["develop"],
        description="The entry stays in the list and no longer counts as open.",
        run=_resolve,
        icon="done",
        fits=lambda letter: letter.resolved_at is None,
    )


@admin.register(ImportJob)
class ImportJobAdmin(ReadOnlyModelAdmin):
    """Files of events and how far they are read."""

    list_display = ["path", "organization", "status", "lines_read", "accepted", "rejected", "updated_at"]
    list_filter = ["organization", "status"]
    list_select_related = ["organization"]
    date_hierarchy = "created_at"
