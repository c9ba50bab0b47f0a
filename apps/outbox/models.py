from django.db import models

from apps.kernel.models import WrittenJSONField


class OutboxEvent(models.Model):
    """A fact announced in the transaction of the change that caused it."""

    # No foreign key: the outbox stands below organizations so that every app can announce.
    organization_id = models.BigIntegerField()
    event_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=40, help_text="Public id of what changed.")
    payload = WrittenJSONField(default=dict)
    occurred_at = models.DateTimeField(help_text="In the time of the object: its test clock, if it has one.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        # Serves the admin list and readers that follow one organization in order.
        indexes = [models.Index(fields=["organization_id", "-id"], name="outbox_by_organization")]

    def __str__(self) -> str:
        return f"{self.event_type} {self.object_id}"
