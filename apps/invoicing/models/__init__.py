from apps.invoicing.models.adjustment import AdjustmentType, SubscriptionAdjustment
from apps.invoicing.models.coupon import AppliedCoupon
from apps.invoicing.models.credit import (
    BalanceEntry,
    BalanceEntryKind,
    CreditNote,
    CreditNoteLine,
    CreditNoteStatus,
    CustomerBalance,
)
from apps.invoicing.models.decision import DecisionKind, InvoiceDecision
from apps.invoicing.models.invoice import CALCULATED_COLUMNS, Invoice
from apps.invoicing.models.invoice_status import InvoiceStatus
from apps.invoicing.models.line import InvoiceLine, LineKind
from apps.invoicing.models.purchase import LEAST_PRICE, MOST_PRICE, MOST_SLOTS, Purchase, PurchaseStatus
from apps.invoicing.models.run import BillingRun, BillingRunItem, RunItemStatus, RunStatus
from apps.invoicing.models.series import DocumentKind, NumberingFormat, NumberSeries, Reset
from apps.invoicing.models.session import PaymentSession, SessionStatus
from apps.invoicing.models.spend import SpendAgreement
from apps.invoicing.models.watching import (
    Alert,
    AlertDirection,
    AlertFiring,
    AlertScope,
    AlertType,
    PassedThreshold,
    UsageLook,
)

__all__ = [
    "CALCULATED_COLUMNS",
    "LEAST_PRICE",
    "MOST_PRICE",
    "MOST_SLOTS",
    "AdjustmentType",
    "Alert",
    "AlertDirection",
    "AlertFiring",
    "AlertScope",
    "AlertType",
    "AppliedCoupon",
    "BalanceEntry",
    "BalanceEntryKind",
    "BillingRun",
    "BillingRunItem",
    "CreditNote",
    "CreditNoteLine",
    "CreditNoteStatus",
    "CustomerBalance",
    "DecisionKind",
    "DocumentKind",
    "Invoice",
    "InvoiceDecision",
    "InvoiceLine",
    "InvoiceStatus",
    "LineKind",
    "NumberSeries",
    "NumberingFormat",
    "PassedThreshold",
    "PaymentSession",
    "Purchase",
    "PurchaseStatus",
    "Reset",
    "RunItemStatus",
    "RunStatus",
    "SessionStatus",
    "SpendAgreement",
    "SubscriptionAdjustment",
    "UsageLook",
]
