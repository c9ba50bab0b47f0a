from decimal import Decimal
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextareaWidget

from apps.kernel.adminsite.actions import Call, service_action
from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.kernel.adminsite.display import brief_json, link, moment, quantity
from apps.kernel.errors import ConflictError
from apps.metering.admin.explorer import explore_usage
from apps.metering.models import (
    DeadLetter,
    Dimension,
    EventConflict,
    EventVoid,
    ImportJob,
    MeterEvent,
    Subject,
    UsageWindow,
)
from apps.metering.selectors.stored import EventRef, find_by_ids, find_by_keys, has_events_in_month
from apps.metering.services.letters import replay_letter, resolve_letter
from apps.metering.services.recompute import WindowKey, recompute_windows
from apps.metering.services.voiding import REASON_LENGTH, void_events
from apps.organizations.models import Organization


class VoidForm(BaseDialogForm):
    reason = forms.CharField(
        label="Reason", max_length=REASON_LENGTH, widget=UnfoldAdminTextareaWidget(attrs={"rows": 3})
    )


def _void(call: Call) -> str:
    event: MeterEvent = call.row
    ref = EventRef(
        key=event.pk,
        public_id=event.public_id,
        idempotency_key=event.idempotency_key,
        event_type=event.event_type,
        occurred_at=event.occurred_at,
        subject_id=event.subject_id,
        source=event.source,
    )
    voided = void_events(
        organization_id=event.organization_id,
        refs=[ref],
        reason=call.data["reason"],
        user_id=call.actor.pk,
        as_of=call.now,
    )
    if not voided:
        return "The event was voided before."
    return "The event counts for nothing any more; what was invoiced is corrected on the next invoice."


def _recompute(call: Call) -> str:
    window: UsageWindow = call.row
    if not has_events_in_month(organization_id=window.organization_id, moment=window.hour):
        raise ConflictError("The events of this month are not stored any more; the window stays as it is.")
    done = recompute_windows(
        windows=[
            WindowKey(window.organization_id, window.metric_id, window.subject_id, window.hour, window.dimension_id)
        ]
    )
    return "The window is rebuilt from its events." if done.kept else "The window has no events and is gone."


@admin.register(MeterEvent)
class MeterEventAdmin(ReadOnlyModelAdmin):
    """Counted events as they came."""

    empty_text = "Events appear a moment after they are sent to /v0/events or imported."
    is_huge = True
    list_display = ["public_id", "event_type", "source", "subject", "occurred_at", "accepted_at", "data_shown"]
    search_fields = ["=public_id", "=idempotency_key"]
    search_help_text = "Exact event id or idempotency key"
    ordering = ["-occurred_at"]
    readonly_fields = ["state", "merchant", "subject"]
    fieldsets = [
        (None, {"fields": ["state", "public_id", "merchant", "subject", "event_type", "source", "data"]}),
        ("Times", {"fields": ["occurred_at", "accepted_at"]}),
        ("Record", {"fields": ["idempotency_key", "external_id"]}),
    ]
    actions_detail = ["void_event"]

    void_event = service_action(
        title="Void event",
        permissions=["develop"],
        description="The event stays as it came and counts for nothing any more. Usage follows at once; what was "
        "invoiced is corrected on the next invoice. This cannot be undone.",
        run=_void,
        form=VoidForm,
        icon="block",
        fits=lambda event: _void_of(event) is None,
    )

    @display(description="Data")
    def data_shown(self, event: MeterEvent) -> str:
        return brief_json(event.data)

    @display(description="State")
    def state(self, event: MeterEvent) -> str:
        void = _void_of(event)
        if void is not None:
            return f"Voided {moment(void.voided_at)} by {void.voided_by}: {void.reason}"
        return f"Counts for {len(event.metrics)} metric(s)" if event.metrics else "Counts for no metric"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        named = Subject.objects.filter(pk=OuterRef("subject_id")).values("value")
        rows: QuerySet[Any] = super().get_queryset(request)
        named_rows: QuerySet[Any] = rows.annotate(subject_value=Subquery(named))
        return named_rows

    @display(description="Organization")
    def merchant(self, event: MeterEvent) -> str:
        return link(Organization.objects.filter(pk=event.organization_id).first())

    @display(description="Subject")
    def subject(self, event: Any) -> str:
        return str(event.subject_value)

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> Any:
        """Find an event by its id or key without going through the table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found: set[int] = set()
        for organization_id in self._organizations(request):
            for refs in (
                find_by_ids(organization_id=organization_id, event_ids=[term]),
                find_by_keys(organization_id=organization_id, keys=[term]),
            ):
                found.update(ref.key for ref in refs.values())
        return queryset.filter(pk__in=found), False

    def _organizations(self, request: HttpRequest) -> list[int]:
        person: Any = request.user
        visible = person.visible_organization_ids()
        merchants = Organization.objects.filter(is_merchant=True)
        if visible is not None:
            merchants = merchants.filter(pk__in=visible)
        return list(merchants.values_list("pk", flat=True))


def _void_of(event: MeterEvent) -> EventVoid | None:
    rows = EventVoid.objects.filter(organization_id=event.organization_id, event_id=event.public_id)
    return rows.select_related("voided_by").first()


@admin.register(UsageWindow)
class UsageWindowAdmin(ReadOnlyModelAdmin):
    """Usage by metric, subject, hour and group."""

    empty_text = "Usage of each hour appears here once events are counted."
    is_huge = True
    list_display = ["metric", "subject", "dimension", "hour", "sum_shown", "count_shown", "changed_at"]
    list_filter = ["metric"]
    search_fields = ["=subject__value"]
    search_help_text = "Exact customer id or own id"
    list_select_related = ["metric", "subject", "dimension"]
    ordering = ["-hour"]
    actions_detail = ["recompute"]

    recompute = service_action(
        title="Recompute",
        permissions=["develop"],
        description="The window is rebuilt from its events. When it is right, nothing changes.",
        run=_recompute,
        icon="calculate",
    )

    def get_urls(self) -> list[URLPattern]:
        explorer = self.admin_site.admin_view(self.explore)
        return [path("explore/", explorer, name="metering_usage_explorer"), *super().get_urls()]

    def explore(self, request: HttpRequest) -> HttpResponse:
        return explore_usage(request, self.admin_site.each_context(request))

    @display(description="Sum", ordering="sum")
    def sum_shown(self, window: UsageWindow) -> str:
        return quantity(window.sum)

    @display(description="Events", ordering="count")
    def count_shown(self, window: UsageWindow) -> str:
        return quantity(Decimal(window.count))


@admin.register(Subject)
class SubjectAdmin(ReadOnlyModelAdmin):
    """Names that events carry."""

    empty_text = "Names that events carry appear with the first event."
    list_display = ["value", "is_external", "organization", "created_at"]
    list_filter = ["organization", "is_external"]
    search_fields = ["value"]
    list_select_related = ["organization"]


@admin.register(Dimension)
class DimensionAdmin(ReadOnlyModelAdmin):
    """Combinations of group values."""

    empty_text = "Combinations of group values appear with the first event of a metric that groups."
    list_display = ["metric", "values"]
    list_filter = ["metric"]
    list_select_related = ["metric"]


@admin.register(EventConflict)
class EventConflictAdmin(ReadOnlyModelAdmin):
    """Keys that came again with other content; the first content stands."""

    empty_text = "Keys that come again with other content are listed here."
    list_display = ["idempotency_key", "first_event_id", "content_shown", "detected_at"]
    search_fields = ["idempotency_key", "first_event_id"]
    date_hierarchy = "detected_at"
    ordering = ["-id"]

    @display(description="Content")
    def content_shown(self, conflict: EventConflict) -> str:
        return brief_json(conflict.content)


def _resolve(call: Call) -> str:
    resolve_letter(letter_id=call.row.pk, as_of=call.now)
    return "Marked as dealt with."


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyModelAdmin):
    """What was accepted and could not be used, with the reason."""

    empty_text = "All is well: everything that was accepted could be used."
    list_display = ["code", "message", "stage", "organization", "created_at", "resolved_at"]
    list_filter = ["organization", "stage", "code", ("resolved_at", admin.EmptyFieldListFilter)]
    search_fields = ["message"]
    list_select_related = ["organization"]
    date_hierarchy = "created_at"
    ordering = ["-id"]
    actions_detail = ["try_again", "mark_as_resolved"]

    try_again = service_action(
        title="Try again",
        permissions=["develop"],
        description="After its cause is mended, such as a metric's value path: the event is counted as it would be "
        "if it came now. When that works the entry is marked as resolved.",
        run=lambda call: replay_letter(letter_id=call.row.pk, as_of=call.now),
        icon="replay",
        fits=lambda letter: letter.resolved_at is None,
    )

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

    empty_text = "Files that import_events reads are listed here."
    list_display = ["path", "organization", "status", "lines_read", "accepted", "rejected", "updated_at"]
    list_filter = ["organization", "status"]
    list_select_related = ["organization"]
    date_hierarchy = "created_at"
