from django.db import models
from django.db.models import F, Q


class Retention(models.Model):
    """The one row that says up to when something is gone; both only ever move forward."""

    raw_gone_until = models.DateTimeField(null=True, help_text="Raw events that happened before this are dropped.")
    keys_gone_until = models.DateTimeField(null=True, help_text="Keys accepted before this may be forgotten.")

    class Meta:
        constraints = [models.CheckConstraint(name="retention_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return "Retention"


class EventExport(models.Model):
    """A month of raw events written to files: where, what is in them, and what became of the month since."""

    month = models.DateField(help_text="Its first day, UTC.")
    number = models.PositiveSmallIntegerField(help_text="A month that was dropped and got events again starts anew.")
    folder = models.CharField(max_length=1000)
    manifest_sha256 = models.CharField(max_length=64)
    row_count = models.BigIntegerField()
    digest = models.DecimalField(max_digits=38, decimal_places=0, help_text="Sum over the lines' hashes.")
    exported_at = models.DateTimeField()
    verified_at = models.DateTimeField(null=True, blank=True, help_text="Files read back and found whole.")
    dropped_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["month", "number"], name="eventexport_once"),
            models.UniqueConstraint(
                fields=["month"], name="eventexport_one_current", condition=Q(dropped_at__isnull=True)
            ),
            models.CheckConstraint(
                name="eventexport_verified_after_export",
                condition=Q(verified_at__isnull=True) | Q(verified_at__gte=F("exported_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"
