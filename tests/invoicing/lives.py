"""A customer whose subscription goes through whatever is asked of it, by the hour, and what it should have cost."""

import copy
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from apps.catalog.models import Plan
from apps.invoicing.domain.targets import TargetLine
from apps.invoicing.models import Invoice, InvoiceLine
from apps.invoicing.selectors.invoices import stored_lines, with_neighbours
from apps.invoicing.selectors.targets import target_lines
from apps.kernel.time import format_instant, parse_instant
from apps.subscriptions.models import Subscription
from tests.world import World

START = parse_instant("2026-01-01T00:00:00Z")
HOUR = timedelta(hours=1)
Move = tuple[Any, ...]

waits = st.tuples(st.just("wait"), st.integers(1, 500))
usage = st.tuples(st.just("use"), st.integers(1, 9), st.integers(0, 600))
ends = st.one_of(
    st.tuples(st.just("change"), st.sampled_from(["now", "period_end"])),
    st.tuples(st.just("change"), st.integers(1, 900)),
    st.tuples(st.just("cancel"), st.one_of(st.none(), st.integers(1, 900))),
    st.tuples(st.just("undo")),
)
pauses = st.tuples(st.sampled_from(["pause", "resume"]))
counts = st.tuples(st.just("count"), st.integers(0, 4), st.integers(0, 900))
deals = st.one_of(
    st.tuples(st.just("adjust"), st.sampled_from(["0.1", "0.333", "1"])),
    st.tuples(st.just("withdraw")),
    st.tuples(st.just("coupon"), st.sampled_from(["DEAL", "GIFT"])),
    st.tuples(st.just("remove")),
)
PRICES = {"small": (Decimal("31.00"), Decimal(1)), "large": (Decimal("62.00"), Decimal("0.1"))}


class Life:
    """Seats in advance and tokens, on a small plan or a large one; unused time is given back at any end."""

    customer: str
    clock: str
    first: str
    now: datetime
    sent: list[tuple[datetime, int]]

    def __init__(self, world: World) -> None:
        self.world, self.product = world, world.product()
        self.metric = world.metric(self.product)
        self.plans = {name: self._plan(name) for name in PRICES}
        for code, terms in (
            ("DEAL", {"duration": "forever", "percentageOff": "0.25"}),
            ("GIFT", {"duration": "once", "amountOff": "40.00", "currency": "USD"}),
        ):
            world.api.post(
                "/v0/coupons", {"merchantId": world.id, "code": code, "name": code, "priceIds": [], **terms}
            )

    def begin(self) -> "Life":
        """Give another customer of the same shop at the start."""
        life = copy.copy(self)
        life.customer, life.clock = self.world.customer(), self.world.clock(format_instant(START))
        made = self.world.subscribe(
            life.customer, self.plans["small"], at=format_instant(START), clock=life.clock,
            items=[{"priceKey": "seats", "quantity": "2"}],
        )  # fmt: skip
        self.world.pay(made["payment"]["invoiceId"])
        life.now, life.first, life.sent = START, str(made["id"]), []
        return life

    def _plan(self, name: str) -> str:
        fee, each = PRICES[name]
        lines = [
            {"priceId": self.world.fee_price(self.product, str(fee)), "key": "seats"},
            {"priceId": self.world.usage_price(self.metric, str(each)), "key": "tokens"},
        ]
        plan = self.world.plan(self.product, lines, name=name)  # type: ignore[arg-type]
        Plan.objects.filter(public_id=plan).update(credit_unused_at_end=True)
        return plan

    def chain(self) -> list[Subscription]:
        """Give the subscription and all that followed it, in order."""
        rows = Subscription.objects.select_related("plan", "plan_version", "test_clock", "customer")
        found = [rows.get(public_id=self.first)]
        while follower := rows.filter(replaces=found[-1]).first():
            found.append(follower)
        return found

    def play(self, moves: Iterable[Move]) -> None:
        for move in moves:
            getattr(self, f"_{move[0]}")(*move[1:])

    def ask(self, method: str, path: str, **body: Any) -> int:
        """Ask for something of the present subscription; what does not fit is refused and changes nothing."""
        url = f"/v0/subscriptions/{self.chain()[-1].public_id}/{path}"
        status = int(self.world.api.call(method, url, body or None).status_code)
        assert status < 500, (method, path, body)
        return status

    def _wait(self, hours: int) -> None:
        self.advance(self.now + hours * HOUR)

    def _use(self, tokens: int, ago: int) -> None:
        current = self.chain()[-1]
        at = max(self.now - ago * HOUR, current.started_at)
        if current.status == "active":
            self.world.send(self.customer, format_instant(at), tokens=tokens)
            self.sent.append((at, tokens))

    def _change(self, when: str | int) -> None:
        other = "large" if self.chain()[-1].plan.public_id == self.plans["small"] else "small"
        timing = {"timing": when} if isinstance(when, str) else {"effectiveAt": self.ahead(when)}
        self.ask("post", "planChange", planId=self.plans[other], **timing)

    def _cancel(self, ahead: int | None) -> None:
        date = {} if ahead is None else {"cancelsAt": self.ahead(ahead)}
        self.ask("post", "cancellation", reason="x", **date)

    def _undo(self) -> None:
        self.ask("delete", "cancellation")

    def _pause(self) -> None:
        self.ask("post", "pause")

    def _resume(self) -> None:
        self.ask("post", "resume")

    def _count(self, quantity: int, ahead: int) -> None:
        item = {"priceKey": "seats", "quantity": str(quantity)}
        self.ask("post", "quantityChange", items=[item], effectiveAt=self.ahead(ahead))

    def _uncount(self) -> None:
        self.ask("delete", "quantityChange")

    def _adjust(self, rate: str) -> None:
        self.ask(
            "post", "adjustments", type="percentageDiscount", percentageDiscount=rate,
            effectiveFrom=format_instant(self.now),
        )  # fmt: skip

    def _withdraw(self) -> None:
        path = f"/v0/subscriptions/{self.chain()[-1].public_id}/adjustments"
        for row in self.world.api.get(path)["data"][:1]:
            self.ask("delete", f"adjustments/{row['id']}")

    def _coupon(self, code: str) -> None:
        self.world.api.call("post", f"/v0/customers/{self.customer}/coupons", {"code": code})

    def _remove(self) -> None:
        path = f"/v0/customers/{self.customer}/coupons"
        for row in self.world.api.get(path)["data"][:1]:
            self.world.api.call("delete", f"{path}/{row['id']}")

    def ahead(self, hours: int) -> str:
        return format_instant(self.now + hours * HOUR)

    def advance(self, to: datetime) -> None:
        """Go on; each bill that is calculated on the way says what it said when its period was over."""
        while True:
            current = self.chain()[-1]
            end = current.period_end
            if current.status != "active" or end is None or end + 2 * HOUR > to:
                break
            self.world.advance(self.clock, format_instant(max(end + HOUR / 2, self.now)))
            closing = self._closing()
            self.world.advance(self.clock, format_instant(max(end + 2 * HOUR, self.now)))
            for key, live in closing.items():
                assert figures(stored_lines(Invoice.objects.get(pk=key))) == live
        self.world.advance(self.clock, format_instant(max(to, self.now)))
        self.now = max(to, self.now)

    def _closing(self) -> dict[int, list[Move]]:
        rows = Invoice.objects.filter(subscription__in=self.chain(), status="CLOSING")
        found = target_lines(list(with_neighbours(rows)), as_of=None)
        return {key: figures(lines) for key, lines in found.items()}

    def finish(self) -> None:
        """Let everything that was asked for happen, and be billed."""
        self.advance(self.now + timedelta(days=75))

    def bills(self) -> list[Any]:
        """Give all that the bills say, but for ids."""
        rows = Invoice.objects.filter(subscription__in=self.chain()).order_by("subscription__pk", "sequence_number")
        return [
            (row.sequence_number, row.status, row.period_start, row.period_end, row.grand_total, [
                (line.display_name, line.period_start, line.period_end, line.quantity, line.gross, line.total)
                for line in stored_lines(row)])
            for row in rows
        ]  # fmt: skip


def figures(lines: Iterable[TargetLine | InvoiceLine]) -> list[Move]:
    return sorted((line.reference, line.quantity, line.unit_price, line.gross, line.total) for line in lines)


def calculated(subscriptions: Sequence[Subscription]) -> list[InvoiceLine]:
    rows = InvoiceLine.objects.filter(
        invoice__subscription__in=subscriptions, invoice__calculated_at__isnull=False
    ).exclude(invoice__status="CANCELLED")
    return list(rows.select_related("price_revision__fee", "invoice").order_by("pk"))
