from apps.catalog.admin.coupons import CouponAdmin
from apps.catalog.admin.feeds import FeedRateAdmin, RateFeedAdmin
from apps.catalog.admin.plans import PlanAdmin, PlanVersionAdmin, PlanVersionPriceAdmin
from apps.catalog.admin.prices import PriceAdmin, PriceRevisionAdmin
from apps.catalog.admin.products import FeatureAdmin, FeeAdmin, MetricAdmin, ProductAdmin
from apps.catalog.admin.units import CreditAllocationAdmin, PricingUnitAdmin

__all__ = [
    "CouponAdmin",
    "CreditAllocationAdmin",
    "FeatureAdmin",
    "FeeAdmin",
    "FeedRateAdmin",
    "MetricAdmin",
    "PlanAdmin",
    "PlanVersionAdmin",
    "PlanVersionPriceAdmin",
    "PriceAdmin",
    "PriceRevisionAdmin",
    "PricingUnitAdmin",
    "ProductAdmin",
    "RateFeedAdmin",
]
