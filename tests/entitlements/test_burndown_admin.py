"""The burn-down of a right, as finance reads it: what happened, who paid, and the chart."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from apps.entitlements.admin.charts import Frame, within
from apps.entitlements.models import CreditPool, Entitlement, Grant, SlotPool
from apps.entitlements.services.granting import GrantTerms, create_grant, void_grant
from apps.kernel.time import parse_instant
from tests.catalog.test_versions_admin import act
from tests.entitlements.kit import Kit
from tests.entitlements.pools import PoolKit

TERMS = {
    "usagePeriod": {"interval": "P1M"}, "issueAfterReset": 1_000, "isSoftLimit": True, "resetMaxRollover": 100,
}  # fmt: skip


def browser(kit: Kit) -> Client:
    client = Client()
    client.force_login(kit.world.owner)
    return client


def give(row: Entitlement, amount: int, at: str, **terms: Any) -> Grant:
    key = f"{at}-{Grant.objects.count()}"
    asked = GrantTerms(Decimal(amount), key, parse_instant(at), **terms)
    return create_grant(entitlement_id=row.pk, terms=asked, as_of=parse_instant(at))[0]


def page(client: Client, row: Entitlement, query: str = "") -> str:
    answer = client.get(reverse("admin:entitlements_entitlement_change", args=[row.pk]) + query)
    assert answer.status_code == 200
    return answer.content.decode()


def steps(shown: str) -> list[list[str]]:
    """Give the rows of the burn-down: time, what happened, there, used, paid by, overage."""
    table = shown.split("mg-burndown")[1].split("</table>")[0]
    rows = re.findall(r"<tr><td.*?</tr>", table, re.DOTALL)
    return [[_plain(cell) for cell in re.findall(r"<td.*?>(.*?)</td>", row, re.DOTALL)] for row in rows]


def _plain(cell: str) -> str:
    return re.sub(r"<[^>]+>", "", re.sub(r"</div>|<br>", "; ", cell)).strip("; ")


def test_each_step_says_what_happened(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), TERMS)])
    row = Entitlement.objects.get()
    short = give(row, 50, "2026-01-10T08:30:00Z", expires_at=parse_instant("2026-01-20T00:00:00Z"))
    weekly = give(row, 70, "2026-01-21T00:00:00Z", recurrence="P7D")
    kit.use(customer, "2026-01-11T00:00:00Z", 20)
    kit.use(customer, "2026-01-25T00:00:00Z", 1_500)
    kit.world.advance(clock, "2026-02-03T10:00:00Z")
    void_grant(grant_id=weekly.pk, as_of=parse_instant("2026-02-03T10:00:00Z"))
    kit.use(customer, "2026-02-04T00:00:00Z", 400)
    kit.world.advance(clock, "2026-03-05T00:00:00Z")
    shown = page(browser(kit), row)
    found = steps(shown)
    assert [step[0] for step in found[:2]] == [
        "2026-01-01 00:00; – 2026-01-10 08:30", "2026-01-10 08:30; – 2026-01-20 00:00"
    ]  # fmt: skip
    assert [step[1] for step in found] == [
        "The right begins, by the plan of its subscription; Allowance of 1,000 issued",
        "Begun: the 50 granted 2026-01-10, until 2026-01-20 00:00",
        "Expired: the 50 granted 2026-01-10, 30 left were forfeited",
        "Begun: the 70 granted 2026-01-21",
        "430 overage from before is paid first; Filled up again: the 70 granted 2026-01-21",
        "A reset of the calendar; 360 overage forgiven; Allowance of 1,000 issued",
        "Voided: the 70 granted 2026-01-21, all of it used",
        "A reset of the calendar; Rolled over: 100 of the allowance; Forfeited: 500 of the allowance; "
        "Allowance of 1,000 issued",
    ]
    assert found[3][2:] == ["1,070", "1,500", "70 of the 70 granted 2026-01-21, 1,000 of the allowance", "430"]
    assert reverse("admin:entitlements_grant_change", args=[short.pk]) in shown
    assert short.public_id not in shown


def test_what_happens_now_is_a_step_of_its_own(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), TERMS)])
    row = Entitlement.objects.get()
    client = browser(kit)
    begun = "The right begins, by the plan of its subscription; Allowance of 1,000 issued"
    assert [step[1] for step in steps(page(client, row))] == [begun]
    kit.use(customer, "2026-01-05T00:00:00Z", 1_300)
    kit.world.advance(clock, "2026-01-10T00:00:00Z")
    act(client, "entitlements/entitlement", row.pk, "grant-units", amount="500", priority="0")
    last = steps(page(client, row))[-1]
    assert last[1] == "300 overage paid by 300 of the 500 granted 2026-01-10; Begun: the 500 granted 2026-01-10"
    assert last[2] == "200"
    sent = {"reason": "moved", "overage": "carry", "retain_anchor": "on"}
    kit.use(customer, "2026-01-10T01:00:00Z", 900)
    kit.world.advance(clock, "2026-01-11T00:00:00Z")
    act(client, "entitlements/entitlement", row.pk, "reset-usage", **sent)
    last = steps(page(client, row))[-1]
    assert last[1].startswith("A reset by hand (moved); 700 carried overage paid by 700 of the allowance")
    act(client, "entitlements/entitlement", row.pk, "end-entitlement")
    assert steps(page(client, row))[-1][1].startswith("The right ends")


def test_a_right_issued_by_hand_says_so(kit: Kit) -> None:
    body = {"customerId": kit.world.customer(), "featureId": kit.feature(), "template": {"issueAfterReset": 5}}
    kit.world.api.post("/v1/entitlements", body)
    assert steps(page(browser(kit), Entitlement.objects.get()))[0][1].startswith("The right begins, issued by hand")


def test_hundreds_of_grants_wait_in_a_disclosure(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), TERMS)])
    row = Entitlement.objects.get()
    client = browser(kit)

    def questions() -> int:
        page(client, row)
        with CaptureQueriesContext(connection) as asked:
            page(client, row)
        return len(asked)

    give(row, 10, "2026-01-02T00:00:00Z")
    kit.use(customer, "2026-01-05T00:00:00Z", 4_900)
    kit.world.advance(clock, "2026-01-10T00:00:00Z")
    few = questions()
    for _ in range(499):
        give(row, 10, "2026-01-02T00:00:00Z")
    assert questions() == few
    assert few <= 30
    shown = page(client, row)
    assert "<details><summary>and 497 more</summary>" in shown
    assert "<details><summary>and 487 more</summary>" in shown
    assert '<circle class="begun"' in shown
    assert "500 grants begun 2026-01-02 00:00" in shown


def test_a_pool_names_what_its_credits_are_of(kit: Kit) -> None:
    pools = PoolKit.make(kit.world)
    feature = {"featureId": kit.feature("chat"), "entitlementTemplate": {"issueAfterReset": 30}}
    customer, _, clock = pools.subscriber([pools.price("1", feature=feature)], **pools.given())
    pools.kit.use(customer, "2026-01-10T00:00:00Z", 50)
    kit.world.advance(clock, "2026-01-20T00:00:00Z")
    pool, right = CreditPool.objects.get(), Entitlement.objects.get(feature__isnull=False)
    address = reverse("admin:entitlements_creditpool_change", args=[pool.pk])
    shown = browser(kit).get(address).content.decode()
    first = steps(shown)[0]
    assert first[1].startswith("The first credits or usage of the pool; Begun: ")
    assert "of the plan 2026-01-01" in first[1]
    assert "the allowance of chat" in first[1]
    assert reverse("admin:entitlements_entitlement_change", args=[right.pk]) in shown
    assert steps(page(browser(kit), right)) != []


def test_charts_show_the_span_that_is_chosen(kit: Kit) -> None:
    customer, _, clock = kit.subscriber([kit.price(kit.feature(), TERMS)])
    row = Entitlement.objects.get()
    kit.use(customer, "2026-01-05T00:00:00Z", 1_300)
    kit.world.advance(clock, "2026-02-10T00:00:00Z")
    client = browser(kit)
    whole = page(client, row)
    assert 'aria-current="true">All</a>' in whole
    assert "<title>Reset 2026-02-01 00:00</title>" in whole
    assert ">\N{MINUS SIGN}300</text>" in whole
    assert ">1 Jan 2026</text>" in whole
    week = page(client, row, "?span=week")
    assert 'aria-current="true">Week</a>' in week
    assert ">3 Feb 2026</text>" in week
    assert "<title>Reset" not in week.split("<svg")[-1].split("</svg>")[0]
    assert ">9 Feb 06:00</text>" in page(client, row, "?span=day")


def test_the_chart_of_slots_shows_the_span_that_is_chosen(kit: Kit) -> None:
    feature, customer = kit.feature("deploys", "static"), kit.world.customer()
    kit.world.api.post("/v1/entitlements", {"customerId": customer, "featureId": feature, "template": {"slots": 2}})
    taken = {"customerId": customer, "featureId": feature, "idempotencyKey": "k"}
    kit.world.api.post("/v1/slots", taken)
    address = reverse("admin:entitlements_slotpool_change", args=[SlotPool.objects.get().pk])
    assert "In the last week 1 at most" in browser(kit).get(address).content.decode()
    shown = browser(kit).get(f"{address}?span=day").content.decode()
    assert 'aria-current="true">Day</a>' in shown
    assert "In the last day 1 at most" in shown


def test_a_line_is_cut_where_it_enters_a_span() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    hours = [start + timedelta(hours=n) for n in range(5)]
    line = [(hours[0], Decimal(10)), (hours[2], Decimal(0)), (hours[4], Decimal(5))]
    assert within(line, hours[1], hours[4]) == [(hours[1], Decimal(5)), *line[1:]]
    assert within(line, hours[2], hours[4]) == line[1:]
    assert within(line[:1], hours[1], hours[2]) == [(hours[1], Decimal(10))]
    frame = Frame(hours[0], hours[4], low=Decimal(-10), high=Decimal(10))
    assert frame.x(hours[0]) < frame.x(hours[2]) < frame.x(hours[4])
    assert frame.y(Decimal(10)) < frame.y(Decimal(0)) < frame.y(Decimal(-10))
