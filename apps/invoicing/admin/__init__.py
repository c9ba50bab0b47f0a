from apps.invoicing.admin.adjustments import SubscriptionAdjustmentAdmin
from apps.invoicing.admin.billing_runs import BillingRunAdmin, BillingRunItemAdmin
from apps.invoicing.admin.coupons import AppliedCouponAdmin
from apps.invoicing.admin.credits import (
    BalanceEntryAdmin,
    CreditNoteAdmin,
    CreditNoteLineAdmin,
    CustomerBalanceAdmin,
)
from apps.invoicing.admin.decisions import InvoiceDecisionAdmin
from apps.invoicing.admin.invoices import InvoiceAdmin, InvoiceLineAdmin, PaymentSessionAdmin
from apps.invoicing.admin.numbers import NumberingFormatAdmin, NumberSeriesAdmin
from apps.invoicing.admin.purchases import PurchaseAdmin
from apps.invoicing.admin.spend import SpendAgreementAdmin
from apps.invoicing.admin.subscriptions import SubscriptionAdmin
from apps.invoicing.admin.timeline import SubscriptionIntervalChangeAdmin
from apps.invoicing.admin.watching import AlertAdmin, AlertFiringAdmin, PassedThresholdAdmin, UsageLookAdmin

__all__ = [
    "AlertAdmin",
    "AlertFiringAdmin",
    "AppliedCouponAdmin",
    "BalanceEntryAdmin",
    "BillingRunAdmin",
    "BillingRunItemAdmin",
    "CreditNoteAdmin",
    "CreditNoteLineAdmin",
    "CustomerBalanceAdmin",
    "InvoiceAdmin",
    "InvoiceDecisionAdmin",
    "InvoiceLineAdmin",
    "NumberSeriesAdmin",
    "NumberingFormatAdmin",
    "PassedThresholdAdmin",
    "PaymentSessionAdmin",
    "PurchaseAdmin",
    "SpendAgreementAdmin",
    "SubscriptionAdjustmentAdmin",
    "SubscriptionAdmin",
    "SubscriptionIntervalChangeAdmin",
    "UsageLookAdmin",
]
