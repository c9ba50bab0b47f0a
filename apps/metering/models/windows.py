from django.db import models


class UsageWindow(models.Model):
    """Usage of one metric, subject and combination of group values in one UTC hour.

    Written only by the merge, in the transaction that inserts the events, so it is exact. The table's own key is
    (metric, subject, hour, dimension); the ORM reads it under a generated single column.
    """

    id = models.BigIntegerField(primary_key=True)
    organization_id = models.BigIntegerField()
    metric = models.ForeignKey(
        "catalog.BillableMetric", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    subject = models.ForeignKey(
        "metering.Subject", on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    dimension = models.ForeignKey(
        "metering.Dimension", null=True, on_delete=models.DO_NOTHING, related_name="+", db_constraint=False
    )
    hour = models.DateTimeField()
    sum = models.DecimalField(max_digits=38, decimal_places=9)
    count = models.BigIntegerField()
    min = models.DecimalField(max_digits=38, decimal_places=9, null=True)
    max = models.DecimalField(max_digits=38, decimal_places=9, null=True)
    latest = models.DecimalField(max_digits=38, decimal_places=9, null=True)
    latest_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField()

    class Meta:
        managed = False
        db_table = "metering_window"

    def __str__(self) -> str:
        return f"{self.metric} {self.hour:%Y-%m-%d %H}h"
