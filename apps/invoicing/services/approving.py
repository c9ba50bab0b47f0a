"""Whether the invoices of a subscription wait for a person before they are issued."""

from django.db import transaction

from apps.invoicing.models import Invoice
from apps.invoicing.models.invoice_status import UNCALCULATED
from apps.invoicing.services.agreeing import require_live
from apps.invoicing.services.periods import approves_itself
from apps.invoicing.services.terminating import locked
from apps.subscriptions.models import Subscription


@transaction.atomic
def set_approval(*, subscription_id: int, auto_approve: bool | None) -> Subscription:
    """Say whether invoices are issued by themselves, also the open one; what is calculated stays as it is.

    Args:
        auto_approve: None: as the merchant does.

    Raises:
        ConflictError: the subscription has ended.
    """
    subscription = locked(subscription_id)
    require_live(subscription)
    subscription.auto_approve = auto_approve
    subscription.save(update_fields=["auto_approve", "updated_at"])
    waiting = Invoice.objects.filter(subscription=subscription, status__in=UNCALCULATED)
    for invoice in waiting.select_for_update(no_key=True).order_by("pk"):
        invoice.auto_approve = approves_itself(subscription)
        invoice.save(update_fields=["auto_approve", "updated_at"])
    return subscription
