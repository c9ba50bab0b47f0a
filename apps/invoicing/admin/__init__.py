from apps.invoicing.admin.adjustments import SubscriptionAdjustmentAdmin
from apps.invoicing.admin.coupons import AppliedCouponAdmin
from apps.invoicing.admin.invoices import InvoiceAdmin, InvoiceLineAdmin, NumberSeriesAdmin, PaymentSessionAdmin
from apps.invoicing.admin.spend import SpendAgreementAdmin
from apps.invoicing.admin.subscriptions import SubscriptionAdmin
from apps.invoicing.admin.timeline import SubscriptionIntervalChangeAdmin

__all__ = [
    "AppliedCouponAdmin",
    "InvoiceAdmin",
    "InvoiceLineAdmin",
    "NumberSeriesAdmin",
    "PaymentSessionAdmin",
    "SpendAgreementAdmin",
    "SubscriptionAdjustmentAdmin",
    "SubscriptionAdmin",
    "SubscriptionIntervalChangeAdmin",
]
