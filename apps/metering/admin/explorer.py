"""The usage explorer: one metric over time, by dimension, hour by hour, down to single events."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from apps.catalog.models import BillableMetric, MetricMode
from apps.customers.models import Customer
from apps.kernel.adminsite.display import figure
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import time_zones
from apps.kernel.money import format_decimal
from apps.kernel.time import format_instant
from apps.metering.admin.charts import Series, heat_map, time_chart
from apps.metering.aggregations import get
from apps.metering.domain.grid import boundaries
from apps.metering.selectors.explained import STATES, EventQuery, explained_events
from apps.metering.selectors.gone import RawEventsGoneError
from apps.metering.selectors.links import SubjectSpan, subjects_of
from apps.metering.selectors.meter import SUBJECT, MeterQuestion, MeterRow, TooManyWindowsError, meter_rows

DAYS = 14
LONGEST_DAYS, LONGEST_HOURLY_DAYS, HEAT_DAYS = 731, 14, 31
# More lines or layers than this cannot be told apart.
TOP_GROUPS = 8
LISTED_CUSTOMERS, LISTED_EVENTS = 50, 100
SIZES = {"HOUR": "hour", "DAY": "day", "MONTH": "month"}
LABELS = {"HOUR": "%d %b %H:%M", "DAY": "%d %b", "MONTH": "%b %Y"}
OTHER, EMPTY = "Other", "(empty)"
# The view that shows the heat map; events in a state are shown under the state's code, figures without a name.
HOURS = "hours"


@dataclass(slots=True)
class Asked:
    """What the form asks for, after everything in it that makes no sense was replaced and noted."""

    metric: BillableMetric
    customers: Sequence[Customer]
    customer: Customer | None
    customer_text: str
    subjects: list[SubjectSpan] | None
    first: date
    last: date
    tz: str
    size: str
    by: str
    is_lines: bool
    notes: list[str]

    @property
    def names(self) -> dict[str, str]:
        """What customers are called where usage is split by them; those the form does not list keep their ids."""
        listed = {one.public_id: one.consumer.name for one in self.customers}
        return listed if self.by == SUBJECT else {}

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.tz)

    @property
    def start(self) -> datetime:
        return datetime.combine(self.first, time(), tzinfo=self.zone).astimezone(UTC)

    @property
    def end(self) -> datetime:
        return datetime.combine(self.last + timedelta(days=1), time(), tzinfo=self.zone).astimezone(UTC)

    @property
    def question(self) -> MeterQuestion:
        owner = None if self.customer is None else self.customer.public_id
        return MeterQuestion(self.metric, self.start, self.end, self.subjects, tz=self.tz, owner=owner)


def explore_usage(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Show the explorer, or give its figures as CSV to those who may export.

    Args:
        request: a GET; what is asked for stands in its query.
        context: what every page of the admin needs.
    """
    person: Any = request.user
    if not person.has_right("view"):
        raise PermissionDenied
    visible = person.visible_organization_ids()
    metrics = BillableMetric.objects.filter(deleted_at__isnull=True, mode=MetricMode.USAGE).select_related(
        "organization"
    )
    if visible is not None:
        metrics = metrics.filter(organization_id__in=visible)
    offered = list(metrics.order_by("organization_id", "name", "pk")[:500])
    context |= {"title": "Usage explorer", "metrics": offered, "sizes": SIZES, "states": STATES}
    if not offered:
        return TemplateResponse(request, "metering/explorer.html", context)
    wanted = request.GET.get("metric", "")
    metric = next((one for one in offered if one.public_id == wanted), None)
    if metric is None and wanted:
        metric = metrics.filter(public_id=wanted).first()
    if metric is None:
        # A customer's page names the merchant and leaves the metric open.
        merchant = request.GET.get("organization", "")
        metric = next((one for one in offered if one.organization.public_id == merchant), offered[0])
    customers = _customers(metric, request.GET.get("customer", "").strip())
    asked = _read(request, metric, customers)
    view = request.GET.get("view", "")
    try:
        if request.GET.get("format") == "csv":
            if not person.has_right("export", metric.organization_id):
                raise PermissionDenied
            return _csv(asked)
        context |= _view(asked, view)
    except TooManyWindowsError:
        asked.notes.append("That is more than one answer can hold; ask for larger steps or fewer days.")
    except RawEventsGoneError as gone:
        # Only days of a zone that is off by parts of an hour need single events.
        asked.notes.append(f"{gone.message} In UTC the days can be shown.")
    context |= {
        "asked": asked,
        "can_export": person.has_right("export", metric.organization_id),
        "is_summable": get(metric.aggregation).IS_SUMMABLE,
        "api_call": _api_call(request, asked),
        "query": _query(request, leave_out=("view", "format")),
        "own_query": _query(request, leave_out=("format",)),
        "view": view,
    }
    return TemplateResponse(request, "metering/explorer.html", context)


def _view(asked: Asked, view: str) -> dict[str, Any]:
    if view in STATES:
        return _events(asked, view)
    return _heat(asked) if view == HOURS else _figures(asked)


def _customers(metric: BillableMetric, text: str) -> list[Customer]:
    """Give customers to choose from: those that a text means, else the newest."""
    rows = Customer.objects.filter(organization_id=metric.organization_id, deleted_at__isnull=True)
    if text:
        rows = rows.filter(Q(public_id=text) | Q(external_id=text) | Q(consumer__name__icontains=text))
    return list(rows.select_related("consumer").order_by("-pk")[:LISTED_CUSTOMERS])


def _read(request: HttpRequest, metric: BillableMetric, customers: Sequence[Customer]) -> Asked:
    notes: list[str] = []
    tz = request.GET.get("tz", "").strip() or metric.organization.timezone or "UTC"
    if tz not in time_zones():
        notes.append(f"{tz} is no time zone; UTC is shown.")
        tz = "UTC"
    today = wall_now().astimezone(ZoneInfo(tz)).date()
    last = _day(request.GET.get("last", ""), today, notes)
    first = _day(request.GET.get("first", ""), last - timedelta(days=DAYS - 1), notes)
    if first > last:
        first, last = last, first
    if (last - first).days >= LONGEST_DAYS:
        first = last - timedelta(days=LONGEST_DAYS - 1)
        notes.append(f"At most {LONGEST_DAYS} days are shown; the range begins later than asked.")
    days = (last - first).days + 1
    size = request.GET.get("size", "")
    if size not in SIZES:
        size = "HOUR" if days <= 3 else "DAY" if days <= 92 else "MONTH"
    if size == "HOUR" and days > LONGEST_HOURLY_DAYS:
        notes.append(f"Hours are shown for at most {LONGEST_HOURLY_DAYS} days; days are shown instead.")
        size = "DAY"
    by = request.GET.get("by", "")
    if by != SUBJECT and by not in metric.group_by:
        by = ""
    text = request.GET.get("customer", "").strip()
    customer: Customer | None = None
    subjects: list[SubjectSpan] | None = None
    if text:
        exact = [one for one in customers if text in (one.public_id, one.external_id)]
        customer = next(iter(exact or customers), None)
        subjects = [] if customer is None else subjects_of(customer_ids=[customer.pk]).get(customer.pk, [])
        if customer is None:
            notes.append(f"No customer of {metric.organization.name} is called {text}.")
        elif not exact and len(customers) > 1:
            notes.append(f"{len(customers)} customers fit {text}; the newest of them is shown.")
    return Asked(
        metric,
        customers,
        customer,
        text,
        subjects,
        first,
        last,
        tz,
        size,
        by,
        request.GET.get("chart") == "lines",
        notes,
    )


def _day(text: str, otherwise: date, notes: list[str]) -> date:
    try:
        found = date.fromisoformat(text) if text else otherwise
    except ValueError:
        notes.append(f"{text} is no date such as 2026-01-31.")
        return otherwise
    return min(max(found, date(1971, 1, 1)), date(8999, 1, 1))


def _figures(asked: Asked) -> dict[str, Any]:
    """Give total, chart, table and heat map."""
    question = asked.question
    total = meter_rows(question)
    if not total:
        return {"is_empty": True}
    groups: list[str] = []
    if asked.by:
        ranked = meter_rows(replace(question, group_by=[asked.by]))
        ranked.sort(key=lambda row: (-(row.quantity or Decimal(0)), row.group))
        groups = [row.group[0] for row in ranked[:TOP_GROUPS]]
    whole = meter_rows(replace(question, window_size=asked.size))
    parts: list[MeterRow] = []
    if groups:
        only = [(name,) for name in groups]
        parts = meter_rows(replace(question, window_size=asked.size, group_by=[asked.by], only_groups=only))
    is_summable = get(asked.metric.aggregation).IS_SUMMABLE
    series, moments = _series(asked, whole, parts, groups, is_summable=is_summable)
    labels = [moment.astimezone(asked.zone).strftime(LABELS[asked.size]) for moment in moments]
    sums = {row.window_start: row.quantity for row in whole}
    return {
        "total": figure(total[0].quantity),
        "event_count": f"{total[0].event_count:,}",
        "chart": time_chart(
            labels,
            series,
            unit=asked.metric.unit,
            is_stacked=not asked.is_lines and (is_summable or len(series) == 1),
        ),
        "legend": [{"name": one.name, "colour": position} for position, one in enumerate(series)],
        "columns": [one.name for one in series] if asked.by else [],
        "figures": [
            {
                "at": label,
                "total": figure(sums.get(moment)),
                "parts": [figure(one.values[position]) for one in series] if asked.by else [],
            }
            for position, (label, moment) in enumerate(zip(labels, moments, strict=True))
        ],
    }


def _series(
    asked: Asked, whole: Sequence[MeterRow], parts: Sequence[MeterRow], groups: Sequence[str], *, is_summable: bool
) -> tuple[list[Series], list[datetime]]:
    """Give a series a group, what is left as one more where quantities add up, and the start of each window."""
    # Windows without usage have their place on the axis too.
    moments = boundaries(asked.start, asked.end, asked.size, asked.tz)[:-1]
    sums = {row.window_start: row.quantity for row in whole}
    if not groups:
        return [Series(asked.metric.name, [sums.get(moment) for moment in moments])], moments
    known = {(row.group[0], row.window_start): row.quantity for row in parts}
    series = [
        Series(asked.names.get(name, name) or EMPTY, [known.get((name, moment)) for moment in moments])
        for name in groups
    ]
    if is_summable:
        left = [
            (sums.get(moment) or Decimal(0)) - sum((one.values[n] or Decimal(0) for one in series), Decimal(0))
            for n, moment in enumerate(moments)
        ]
        if any(left):
            series.append(Series(OTHER, left))
    return series, moments


def _heat(asked: Asked) -> dict[str, Any]:
    """Give the last days hour by hour. Hours are those of UTC, at the place where they begin on the local clock."""
    start = max(asked.start, asked.end - timedelta(days=HEAT_DAYS))
    rows = meter_rows(replace(asked.question, start=start, window_size="HOUR", tz="UTC"))
    days: dict[date, dict[int, list[tuple[str, Decimal | None]]]] = {}
    for row in rows:
        local = max(row.window_start, start).astimezone(asked.zone)
        title = local.strftime("%a %d %b %H:%M")
        days.setdefault(local.date(), {}).setdefault(local.hour, []).append((title, row.quantity))
    return {"heat": heat_map(days, unit=asked.metric.unit)} if days else {"is_empty": True}


def _events(asked: Asked, state: str) -> dict[str, Any]:
    query = EventQuery(asked.metric, asked.start, asked.end, asked.subjects, LISTED_EVENTS)
    found = explained_events(state=state, query=query)
    # Its own page has what can be done with it: void, release, try again.
    page = f"admin:metering_{STATES[state].model._meta.model_name}_change"
    return {
        "events": [
            {
                "event": event,
                "page": reverse(page, args=[event.row]),
                "at": event.at.astimezone(asked.zone),
                "quantity": figure(event.quantity),
            }
            for event in found
        ],
        "shown_state": STATES[state],
        "is_cut": len(found) == LISTED_EVENTS,
    }


def _csv(asked: Asked) -> HttpResponse:
    """Give every group of every window, not only those that the chart shows."""
    groups = [asked.by] if asked.by else []
    rows = meter_rows(replace(asked.question, window_size=asked.size, group_by=groups))
    name = f"usage-{asked.metric.public_id}-{asked.first}-{asked.last}.csv"
    answer = HttpResponse(
        content_type="text/csv; charset=utf-8", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
    table = csv.writer(answer)
    table.writerow(["windowStart", "windowEnd", *map(_cell, groups), "quantity", "unit", "events"])
    for row in rows:
        bounds = [format_instant(row.window_start), format_instant(row.window_end)]
        quantity = "" if row.quantity is None else format_decimal(row.quantity)
        table.writerow([*bounds, *map(_cell, row.group), quantity, _cell(asked.metric.unit), row.event_count])
    return answer


def _cell(text: str) -> str:
    """Give text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _api_call(request: HttpRequest, asked: Asked) -> str:
    query = {"from": format_instant(asked.start), "to": format_instant(asked.end), "windowSize": asked.size}
    if asked.tz != "UTC":
        query["timeZone"] = asked.tz
    if asked.by:
        query["groupBy"] = asked.by
    if asked.customer is not None:
        query["subject"] = asked.customer.public_id
    address = request.build_absolute_uri(f"/v0/billableMetrics/{asked.metric.public_id}/meter")
    return f"curl '{address}?{urlencode(query)}' -H \"Authorization: Bearer $METERGATE_KEY\""


def _query(request: HttpRequest, *, leave_out: Sequence[str]) -> str:
    return urlencode([(name, value) for name, value in request.GET.items() if name not in leave_out])
