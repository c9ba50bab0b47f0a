"""The first page of the admin, and the front door."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, QuerySet, Sum
from django.db.models.functions import TruncDay
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from apps.invoicing.models import Invoice, InvoiceStatus
from apps.kernel.clock import wall_now
from apps.kernel.money import format_money
from apps.metering.models import DeadLetter, ParkedEvent, UsageWindow
from apps.metering.selectors.flow import waiting_events
from apps.subscriptions.models import Subscription, SubscriptionStatus

DAYS = 14
# Staged events looked at to say until when usage is counted; the oldest are the first.
LOOK_AT = 100_000
WIDTH, HEIGHT, FLOOR = 720, 180, 150


def home(request: HttpRequest) -> HttpResponse:
    return redirect("admin:index")


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Give the overview: what waits, what is open, what was used and the newest invoices."""
    person: Any = request.user
    if not person.is_authenticated or not person.has_right("view"):
        return context
    now = wall_now()
    visible = person.visible_organization_ids()

    def mine(rows: QuerySet[Any]) -> QuerySet[Any]:
        return rows if visible is None else rows.filter(organization_id__in=visible)

    invoices = mine(Invoice.objects.all())
    counts = dict(invoices.values_list("status").annotate(n=Count("pk")))
    waiting = invoices.filter(status__in=[InvoiceStatus.ISSUED, InvoiceStatus.PAYMENT_FAILED])
    settled = F("paid_amount") + F("credited_amount") + F("balance_applied")
    owed = waiting.values("currency").annotate(due=Sum(F("grand_total") - settled)).order_by("currency")
    parked = mine(Subscription.objects.exclude(parked_reason="")).count()
    pending = mine(Subscription.objects.filter(status=SubscriptionStatus.PENDING_PAYMENT)).count()
    letters = mine(DeadLetter.objects.filter(resolved_at__isnull=True)).count()
    aside = mine(ParkedEvent.objects.filter(state="parked")).count()
    context.update(
        {
            "tiles": [
                _tile("Open periods", counts.get("ACTIVE", 0), "invoicing/invoice/?status__exact=ACTIVE"),
                _tile("Drafts to review", counts.get("DRAFT", 0), "invoicing/invoice/?status__exact=DRAFT"),
                _tile("Waiting for payment", waiting.count(), "invoicing/invoice/?status__exact=ISSUED"),
                _tile("Not activated yet", pending, "subscriptions/subscription/?status__exact=pending_payment"),
                _tile("Failed invoices", counts.get("FAILED", 0), "invoicing/invoice/?status__exact=FAILED", True),
                _tile("Held back", parked, "subscriptions/subscription/?parked_reason__isempty=0", True),
                _tile("Parked events", aside, "metering/parkedevent/?state__exact=parked", True),
                _tile("Dead letters", letters, "metering/deadletter/?resolved_at__isempty=1", True),
            ],
            "owed": [format_money(row["due"], row["currency"]) for row in owed],
            "counted_until": now - timedelta(seconds=float(waiting_events(at_most=LOOK_AT).lag_seconds)),
            "charts": _usage_charts(mine, now),
            "newest": [
                {"row": row, "total": format_money(row.grand_total, row.currency)}
                for row in invoices.filter(number__isnull=False)
                .select_related("customer__consumer")
                .order_by("-id")[:8]
            ],
        }
    )
    return context


def _tile(name: str, count: int, address: str, is_urgent: bool = False) -> dict[str, Any]:
    return {"name": name, "count": count, "address": f"/admin/{address}", "now": is_urgent and count > 0}


def _usage_charts(mine: Any, now: datetime) -> list[dict[str, Any]]:
    """Give a bar a day for each metric that was used lately."""
    first = (now - timedelta(days=DAYS - 1)).replace(hour=0, minute=0, second=0, microsecond=0)
    rows = (
        mine(UsageWindow.objects.filter(hour__gte=first, hour__lte=now + timedelta(days=1)))
        .values("metric_id", "metric__name", "metric__unit", day=TruncDay("hour"))
        .annotate(total=Sum("sum"))
        .order_by("metric_id", "day")
    )
    by_metric: dict[tuple[int, str, str], dict[datetime, Decimal]] = {}
    for row in rows:
        key = (row["metric_id"], row["metric__name"], row["metric__unit"])
        by_metric.setdefault(key, {})[row["day"]] = row["total"]
    return [_chart(key, days, first) for key, days in list(by_metric.items())[:4]]


def _chart(key: tuple[int, str, str], days: dict[datetime, Decimal], first: datetime) -> dict[str, Any]:
    _, name, unit = key
    top = max(max(days.values()), Decimal(1))
    step = Decimal(WIDTH) / DAYS
    bars = []
    for number in range(DAYS):
        day = first + timedelta(days=number)
        value = max(days.get(day, Decimal(0)), Decimal(0))
        height = (value / top * (FLOOR - 20)).quantize(Decimal("0.1"))
        bars.append(
            {
                "x": (step * number + 4).quantize(Decimal("0.1")),
                "y": FLOOR - height,
                "width": (step - 8).quantize(Decimal("0.1")),
                "height": height,
                "middle": (step * number + step / 2).quantize(Decimal("0.1")),
                "label": day.strftime("%d %b") if number % 2 == 0 else "",
                "title": f"{day:%d %b}: {value.normalize():,f} {unit}",
            }
        )
    total = sum(days.values(), Decimal(0))
    return {
        "name": name,
        "unit": unit,
        "total": f"{total.normalize():,f}",
        "bars": bars,
        "width": WIDTH,
        "height": HEIGHT,
        "floor": FLOOR,
    }
