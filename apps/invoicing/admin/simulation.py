"""The simulation screen: terms of a plan, as they are or changed, over the usage of its customers; who pays more."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from apps.catalog.models import Plan
from apps.customers.models import Customer
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.domain.words import steps_in_words
from apps.invoicing.selectors.simulated import Offer, SimulatedBill, Simulation, assumptions_of
from apps.invoicing.selectors.simulating import BILLED, COMPARISONS, NOTHING, PRESENT, simulate, subscribers_of
from apps.invoicing.services.offers import changed_offer, version_offer
from apps.kernel.clock import wall_now
from apps.kernel.errors import DomainError, InvalidError
from apps.kernel.money import format_amount, format_decimal, format_money
from apps.kernel.time import Period, add_months
from apps.rating.price_models import REGISTRY

MOST_CUSTOMERS, LISTED = 1_000, 200
LONGEST_DAYS = 366
RIGHT = "export"
WORDS = {
    PRESENT: "the plan version they have",
    BILLED: "what was billed",
    NOTHING: "nothing",
}


@dataclass(slots=True)
class Asked:
    """What the form says, and what in it could not be used."""

    plan: Plan
    number: str
    offer: Offer | None
    whose: Plan
    customer_text: str
    first: date
    last: date
    comparison: str
    with_one_time: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def tz(self) -> str:
        return self.plan.organization.timezone or "UTC"

    @property
    def period(self) -> Period:
        zone = ZoneInfo(self.tz)
        start = datetime.combine(self.first, time(), tzinfo=zone).astimezone(UTC)
        return Period(start, datetime.combine(self.last + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC))


def simulation_page(request: HttpRequest) -> HttpResponse:
    """Show the form, and what it asks for once it is sent; nothing is stored.

    Args:
        request: a GET draws the form alone; a POST simulates.
    """
    context: dict[str, Any] = admin.site.each_context(request)
    person: Any = request.user
    if not person.has_right(RIGHT):
        raise PermissionDenied
    plans = Plan.objects.filter(deleted_at__isnull=True).select_related("organization", "default_version")
    visible = person.visible_organization_ids()
    if visible is not None:
        plans = plans.filter(organization_id__in=visible)
    offered = [
        plan
        for plan in plans.order_by("organization_id", "name", "pk")[:500]
        if person.has_right(RIGHT, plan.organization_id)
    ]
    context |= {"title": "Simulation", "plans": offered, "words": WORDS, "models": sorted(REGISTRY)}
    if not offered:
        return TemplateResponse(request, "invoicing/simulation.html", context)
    asked = _read(request.POST or request.GET, offered)
    context["asked"] = asked
    if request.method == "POST" and asked.offer is not None and "write" not in request.POST:
        made = _made(asked)
        if made is not None:
            if request.POST.get("format") == "csv":
                return _csv(made)
            context |= _shown(made, request.POST.get("open", ""))
    return TemplateResponse(request, "invoicing/simulation.html", context)


def _read(sent: Mapping[str, str], offered: Sequence[Plan]) -> Asked:
    by_id = {plan.public_id: plan for plan in offered}
    plan = by_id.get(sent.get("plan", ""), offered[0])
    whose = by_id.get(sent.get("whose", ""), plan)
    today = wall_now().astimezone(ZoneInfo(plan.organization.timezone or "UTC")).date()
    month = today.replace(day=1)
    asked = Asked(
        plan=plan,
        number=sent.get("number", "").strip(),
        offer=None,
        whose=whose if whose.organization_id == plan.organization_id else plan,
        customer_text=sent.get("customers", "").strip(),
        first=add_months(month, -1),
        last=month - timedelta(days=1),
        comparison=sent.get("compare", PRESENT) if sent.get("compare", PRESENT) in COMPARISONS else PRESENT,
        with_one_time=bool(sent.get("once")),
    )
    asked.first = _day(sent.get("first", ""), asked.first, asked.notes)
    asked.last = _day(sent.get("last", ""), asked.last, asked.notes)
    if asked.first > asked.last:
        asked.first, asked.last = asked.last, asked.first
    if (asked.last - asked.first).days >= LONGEST_DAYS:
        asked.first = asked.last - timedelta(days=LONGEST_DAYS - 1)
        asked.notes.append(f"At most {LONGEST_DAYS} days are simulated; the time begins later than asked.")
    _read_terms(asked, sent)
    return asked


def _day(text: str, otherwise: date, notes: list[str]) -> date:
    try:
        found = date.fromisoformat(text) if text else otherwise
    except ValueError:
        notes.append(f"{text} is no date such as 2026-01-31.")
        return otherwise
    return min(max(found, date(1971, 1, 1)), date(8999, 1, 1))


def _read_terms(asked: Asked, sent: Mapping[str, str]) -> None:
    """Read the version and what is changed of its prices."""
    number = int(asked.number) if asked.number.isdecimal() and len(asked.number) < 10 else None
    try:
        offer = version_offer(plan=asked.plan, number=number)
    except DomainError as error:
        asked.notes.append(error.message)
        return
    marked = f"{asked.plan.public_id} {asked.number}"
    # Rows that were written for another version say nothing of this one.
    own = sent if sent.get("rows_of") == marked and "write" not in sent else {}
    changes: dict[int, tuple[str, Any]] = {}
    is_readable = True
    for place, row in enumerate(offer.revisions):
        model = own.get(f"model-{place}", row.model)
        plain = json.dumps(row.properties, ensure_ascii=False)
        text = own.get(f"properties-{place}", plain)
        asked.rows.append({"name": row.invoice_display_name, "model": model, "properties": text, "is_fee": row.fee})
        try:
            properties = json.loads(text)
        except (ValueError, RecursionError):
            asked.notes.append(f"{row.invoice_display_name}: {text[:80]} is no JSON.")
            is_readable = False
            continue
        if (model, properties) != (row.model, row.properties):
            changes[place] = (model, properties)
    if not is_readable:
        return
    try:
        asked.offer = changed_offer(offer, changes) if changes else offer
    except InvalidError as error:
        asked.notes.extend(f"{problem.field}: {problem.message}" for problem in error.errors)


def _made(asked: Asked) -> Simulation | None:
    assert asked.offer is not None
    customers = _customers(asked)
    if len(customers) > MOST_CUSTOMERS:
        asked.notes.append(
            f"More than {MOST_CUSTOMERS:,} customers had it in that time; name those that matter by their ids."
        )
        return None
    if not customers:
        return None
    try:
        return simulate(
            offer=asked.offer,
            customers=customers,
            period=asked.period,
            tz=asked.tz,
            comparison=asked.comparison,
            with_one_time=asked.with_one_time,
            as_of=wall_now(),
        )
    except DomainError as error:
        asked.notes.append(error.message)
        return None


def _customers(asked: Asked) -> list[Customer]:
    if not asked.customer_text:
        found = subscribers_of(plan=asked.whose, period=asked.period, limit=MOST_CUSTOMERS)
        if not found:
            asked.notes.append(f"Nobody had {asked.whose.name} in that time.")
        return found
    wanted = asked.customer_text.replace(",", " ").split()
    rows = Customer.objects.filter(
        organization_id=asked.plan.organization_id, public_id__in=wanted, deleted_at__isnull=True
    ).select_related("organization", "consumer")
    found = list(rows.order_by("pk")[: MOST_CUSTOMERS + 1])
    known = {customer.public_id for customer in found}
    missing = [text for text in wanted if text not in known] if len(found) <= MOST_CUSTOMERS else []
    if missing:
        asked.notes.append(f"{asked.plan.organization.name} has no customer {', '.join(missing[:5])}.")
    return found


def _shown(made: Simulation, opened: str) -> dict[str, Any]:
    currency = made.offer.plan.currency
    largest = max((abs(bill.difference or Decimal(0)) for bill in made.bills), default=Decimal(0))
    listed = list(made.bills)
    if len(listed) > LISTED:
        listed = [*listed[: LISTED // 2], *listed[-LISTED // 2 :]]
    chosen = next((b for b in made.bills if b.customer is not None and b.customer.public_id == opened), None)
    return {
        "made": made,
        "assumptions": assumptions_of(made),
        "counts": made.counted(),
        "total": format_money(made.total, currency),
        "compared_total": format_money(made.compared_total, currency),
        "difference": format_money(made.difference, currency),
        "bills": [_row(bill, currency, largest) for bill in listed],
        "left_out": len(made.bills) - len(listed),
        "opened": None if chosen is None else _opened(chosen, currency),
    }


def _row(bill: SimulatedBill, currency: str, largest: Decimal) -> dict[str, Any]:
    change = bill.difference
    width = round(50 * abs(change) / largest, 2) if change and largest else Decimal(0)
    return {
        "customer": bill.customer,
        "now": "—" if bill.compared is None else format_money(bill.compared.subtotal, currency),
        "then": format_money(bill.totals.subtotal, currency),
        "difference": "—" if change is None else format_money(change, currency),
        "share": _percent(bill),
        "is_more": bool(change and change > 0),
        "width": format_decimal(width),
        "left": format_decimal(Decimal(50) if change and change > 0 else Decimal(50) - width),
    }


def _percent(bill: SimulatedBill) -> str:
    if bill.compared is None or bill.difference is None or bill.compared.subtotal <= 0:
        return ""
    return f"{100 * bill.difference / bill.compared.subtotal:+.1f} %".replace("-", "\N{MINUS SIGN}")


def _opened(bill: SimulatedBill, currency: str) -> dict[str, Any]:
    return {
        "customer": bill.customer,
        "sides": [
            (title, [_line(line, currency) for line in lines])
            for title, lines in (("Simulated", bill.lines), ("As it is", bill.compared_lines))
            if lines
        ],
    }


def _line(line: TargetLine, currency: str) -> dict[str, Any]:
    return {
        "name": line.display_name,
        "start": line.period_start,
        "end": line.period_end,
        "quantity": f"{line.quantity.normalize():,f}",
        "amount": format_money(line.subtotal, currency),
        "steps": steps_in_words(line.provenance),
    }


def _csv(made: Simulation) -> HttpResponse:
    currency = made.offer.plan.currency
    name = f"simulation-{made.offer.plan.public_id or 'draft'}.csv"
    answer = HttpResponse(
        content_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
    table = csv.writer(answer)
    table.writerow(["customerId", "name", "currency", "compared", "simulated", "difference"])
    for bill in made.bills:
        assert bill.customer is not None
        shown = bill.customer.consumer.name
        table.writerow(
            [
                bill.customer.public_id,
                # No spreadsheet may take a name for a formula.
                f"'{shown}" if shown.startswith(("=", "+", "-", "@", "\t", "\r")) else shown,
                currency,
                "" if bill.compared is None else format_amount(bill.compared.subtotal, currency),
                format_amount(bill.totals.subtotal, currency),
                "" if bill.difference is None else format_amount(bill.difference, currency),
            ]
        )
    return answer
