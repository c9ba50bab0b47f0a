from apps.catalog.models.coupons import Coupon, CouponDuration, CouponTarget
from apps.catalog.models.feeds import FeedRate, RateFeed
from apps.catalog.models.plans import Plan, PlanVersion, PlanVersionPrice, PlanVersionStatus, TrialUsage
from apps.catalog.models.prices import PaymentTerm, Price, PriceRevision, SupplyScope
from apps.catalog.models.products import (
    GROWING,
    Aggregation,
    BillableMetric,
    Feature,
    FeatureType,
    Fee,
    MetricMode,
    Product,
    RoundingFunction,
)
from apps.catalog.models.spend import SpendKind, SpendTerms
from apps.catalog.models.units import CreditAllocation, PricingUnit

__all__ = [
    "GROWING",
    "Aggregation",
    "BillableMetric",
    "Coupon",
    "CouponDuration",
    "CouponTarget",
    "CreditAllocation",
    "Feature",
    "FeatureType",
    "Fee",
    "FeedRate",
    "MetricMode",
    "PaymentTerm",
    "Plan",
    "PlanVersion",
    "PlanVersionPrice",
    "PlanVersionStatus",
    "Price",
    "PriceRevision",
    "PricingUnit",
    "Product",
    "RateFeed",
    "RoundingFunction",
    "SpendKind",
    "SpendTerms",
    "SupplyScope",
    "TrialUsage",
]
