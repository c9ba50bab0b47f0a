from django.db.models import QuerySet

from apps.invoicing.models import Alert, AlertFiring


def alerts_of(*, organization_id: int) -> QuerySet[Alert]:
    """Give a merchant's alerts, newest first, without those that were taken away."""
    rows = Alert.objects.filter(organization_id=organization_id, deleted_at__isnull=True)
    return rows.select_related("organization", "subscription__test_clock", "metric").order_by("-id")


def firings_of(*, alert: Alert) -> QuerySet[AlertFiring]:
    """Give what an alert fired, newest first."""
    return AlertFiring.objects.filter(alert=alert).order_by("-id")
