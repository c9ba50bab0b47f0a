"""Which raw events bills may still need."""

from datetime import datetime, timedelta

from django.db.models import DateTimeField, DurationField, Exists, ExpressionWrapper, F, OuterRef, Value

from apps.catalog.models import PriceRevision
from apps.invoicing.models import Invoice, InvoiceLine, InvoiceStatus, LineKind
from apps.kernel.time import Cadence, add, format_instant
from apps.subscriptions.models import SubscriptionStatus

# Their usage is still to be read, or may be read again.
UNSETTLED = (
    InvoiceStatus.ACTIVE,
    InvoiceStatus.CLOSING,
    InvoiceStatus.CALCULATING,
    InvoiceStatus.FAILED,
    InvoiceStatus.DRAFT,
)
DAY = timedelta(days=1)


def bills_needing(start: datetime, end: datetime, as_of: datetime) -> str | None:
    """Say which bill still needs the raw events of an interval; None when no bill does.

    One does while its period is open or not calculated, and afterwards for as long as late usage of the period is
    accepted and until an invoice was calculated that would have picked it up.
    """
    # A price may have a longer cadence than its invoice, so that its service began before the invoice's period.
    reach = _longest_service(end)
    invoice = (
        Invoice.objects.filter(
            status__in=UNSETTLED, sequence_number__gt=0, period_start__lt=reach, period_end__gt=start
        )
        .order_by("period_start")
        .first()
    )
    if invoice is not None:
        return (
            f"Invoice {invoice.public_id} of {format_instant(invoice.period_start)} to"
            f" {format_instant(invoice.period_end)} is {invoice.get_status_display().lower()}; settle it first."
        )
    lines = (
        InvoiceLine.objects.filter(
            kind=LineKind.METERED, invoice__issued_at__isnull=False, period_start__lt=end, period_end__gt=start
        )
        .exclude(invoice__status=InvoiceStatus.CANCELLED)
        .annotate(
            corrected_until=ExpressionWrapper(
                F("period_end")
                + ExpressionWrapper(F("organization__event_days_back") * Value(DAY), output_field=DurationField()),
                output_field=DateTimeField(),
            )
        )
    )
    following = Invoice.objects.filter(
        subscription=OuterRef("invoice__subscription"),
        # Early bills look at their own period alone.
        part=0,
        usage_counted_at__gte=OuterRef("corrected_until"),
    )
    recent = lines.filter(corrected_until__gt=as_of).first()
    pending = lines.exclude(invoice__subscription__status=SubscriptionStatus.TERMINATED).filter(~Exists(following))
    line = recent or pending.first()
    if line is None:
        return None
    until = line.period_end + line.organization.event_days_back * DAY
    return (
        f"Late usage of {format_instant(line.period_start)} to {format_instant(line.period_end)} may still correct"
        f" invoice {line.invoice.public_id}; wait until the next one after"
        f" {format_instant(until)} is calculated."
    )


def _longest_service(end: datetime) -> datetime:
    cadences = set(
        PriceRevision.objects.filter(metric__isnull=False, is_flat=False)
        .exclude(billing_cadence="")
        .values_list("billing_cadence", flat=True)
        .distinct()
    )
    return max([end, *(add(end, Cadence.parse(text)) for text in cadences)])
