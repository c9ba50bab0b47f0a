from django.db.models import QuerySet

from apps.catalog.models import Coupon


def coupons_of(*, organization_id: int) -> QuerySet[Coupon]:
    """Give a merchant's coupons, newest first, with what they are limited to."""
    rows = Coupon.objects.filter(organization_id=organization_id).select_related("organization")
    return rows.prefetch_related("targets__price", "targets__metric", "targets__plan").order_by("-id")
