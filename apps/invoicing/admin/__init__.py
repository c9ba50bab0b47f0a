from apps.invoicing.admin.invoices import InvoiceAdmin, InvoiceLineAdmin, NumberSeriesAdmin, PaymentSessionAdmin
from apps.invoicing.admin.subscriptions import SubscriptionAdmin

__all__ = ["InvoiceAdmin", "InvoiceLineAdmin", "NumberSeriesAdmin", "PaymentSessionAdmin", "SubscriptionAdmin"]
