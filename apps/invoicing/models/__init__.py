from apps.invoicing.models.adjustment import AdjustmentType, SubscriptionAdjustment
from apps.invoicing.models.coupon import AppliedCoupon
from apps.invoicing.models.invoice import Invoice, InvoiceStatus
from apps.invoicing.models.line import InvoiceLine, LineKind
from apps.invoicing.models.series import NumberSeries
from apps.invoicing.models.session import PaymentSession, SessionStatus
from apps.invoicing.models.spend import SpendAgreement

__all__ = [
    "AdjustmentType",
    "AppliedCoupon",
    "Invoice",
    "InvoiceLine",
    "InvoiceStatus",
    "LineKind",
    "NumberSeries",
    "PaymentSession",
    "SessionStatus",
    "SpendAgreement",
    "SubscriptionAdjustment",
]
