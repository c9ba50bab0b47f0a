from django.contrib import admin

from apps.kernel.adminsite.base import ReadOnlyModelAdmin
from apps.outbox.models import OutboxEvent


@admin.register(OutboxEvent)
class OutboxEventAdmin(ReadOnlyModelAdmin):
    """Everything that was announced, in order."""

    empty_text = "Every change of state is announced here."
    is_huge = True
    list_display = ["id", "event_type", "object_id", "occurred_at", "created_at"]
    list_filter = ["event_type"]
    search_fields = ["object_id"]
    ordering = ["-id"]
