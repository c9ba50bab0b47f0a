from django.contrib.postgres.fields import ArrayField
from django.db import models


class Subject(models.Model):
    """What an event names as its customer, once per merchant; who that is, is found when usage is read."""

    # Found by the names below; an index of its own would be taken instead, and lead to all of a merchant's.
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="+", db_index=False
    )
    is_external = models.BooleanField(help_text="The merchant's own id rather than ours.")
    value = models.CharField(max_length=255)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "is_external", "value"], name="subject_once"),
        ]

    def __str__(self) -> str:
        return self.value


class Dimension(models.Model):
    """One combination of group values of a metric, once; windows refer to it."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    metric = models.ForeignKey("catalog.BillableMetric", on_delete=models.PROTECT, related_name="+")
    digest = models.UUIDField(help_text="128-bit hash of the values, in key order.")
    values = models.JSONField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["metric", "digest"], name="dimension_once")]

    def __str__(self) -> str:
        return ", ".join(f"{key}={value}" for key, value in self.values.items()) or "—"


class EventColumns(models.Model):
    """What an event carries on its way and where it stays. No foreign keys: these tables take every row there is."""

    public_id = models.CharField(max_length=40)
    organization_id = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=255)
    event_type = models.CharField(max_length=255)
    source = models.CharField(max_length=255)
    subject_id = models.BigIntegerField()
    external_id = models.CharField(max_length=255, blank=True)
    occurred_at = models.DateTimeField()
    accepted_at = models.DateTimeField()
    data = models.JSONField()
    # What it counts for, position by position.
    metrics = ArrayField(models.BigIntegerField())
    dimensions = ArrayField(models.BigIntegerField(null=True))
    quantities = ArrayField(models.DecimalField(max_digits=38, decimal_places=9))
    hashes = ArrayField(models.UUIDField(null=True), null=True)

    class Meta:
        abstract = True


class StagedEvent(EventColumns):
    """An accepted event that is not merged yet. Its partitions have no index: they are only appended and emptied."""

    bucket = models.SmallIntegerField()
    key_hash = models.UUIDField()
    content_hash = models.UUIDField()

    class Meta:
        managed = False
        db_table = "metering_stagedevent"


class MeterEvent(EventColumns):
    """A counted event, kept as it came; partitioned by the month it happened in."""

    class Meta:
        managed = False
        db_table = "metering_event"

    def __str__(self) -> str:
        return self.public_id


class EventConflict(models.Model):
    """A key that came again with different content: the first content stands, this one is reported."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    idempotency_key = models.CharField(max_length=255)
    first_event_id = models.CharField(max_length=40)
    content = models.JSONField(help_text="What the later event said.")
    detected_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="eventconflict_list"),
            # Serves the verdict on a key.
            models.Index(fields=["organization", "idempotency_key"], name="eventconflict_by_key"),
        ]

    def __str__(self) -> str:
        return self.idempotency_key


class DeadLetter(models.Model):
    """Something accepted that could not be used, with the reason; nothing accepted is thrown away."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    stage = models.CharField(max_length=20)
    code = models.CharField(max_length=40)
    message = models.TextField()
    payload = models.JSONField()
    created_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["organization", "-id"], name="deadletter_list"),
            models.Index(fields=["-id"], name="deadletter_open", condition=models.Q(resolved_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
