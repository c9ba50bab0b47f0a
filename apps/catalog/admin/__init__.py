from apps.catalog.admin.coupons import CouponAdmin
from apps.catalog.admin.plans import PlanAdmin, PlanVersionAdmin, PlanVersionPriceAdmin
from apps.catalog.admin.prices import PriceAdmin, PriceRevisionAdmin
from apps.catalog.admin.products import FeatureAdmin, FeeAdmin, MetricAdmin, ProductAdmin

__all__ = [
    "CouponAdmin",
    "FeatureAdmin",
    "FeeAdmin",
    "MetricAdmin",
    "PlanAdmin",
    "PlanVersionAdmin",
    "PlanVersionPriceAdmin",
    "PriceAdmin",
    "PriceRevisionAdmin",
    "ProductAdmin",
]
