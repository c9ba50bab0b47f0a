"""`docs/examples.md`, made: every call of the page, its usage, and the bills that it says come of it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from apps.invoicing.management.examples import seed_examples
from apps.invoicing.models import Invoice
from apps.kernel.money import format_amount, round_money
from apps.rating.reading import recompute
from tests.live import ROOT
from tests.world import World, at

pytestmark = pytest.mark.django_db

PAGE = Path(ROOT) / "docs" / "examples.md"
CALL = re.compile(r"POST (?P<path>\S+) (?P<body>\{.*\})(?: → (?P<name>\w+)| = (?P<amount>\S+))", re.S)
EVENT = re.compile(r"(?P<at>\d{4}-\d\d-\d\dT\S+Z) (?P<type>\S+) (?P<data>\{.*\})")
ROW = re.compile(r"\| (?P<line>[^|]+) \| (?P<worked>[^|]*) ?\| (?P<amount>-?[\d,.]+) \|")
START, AFTER = "2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z"
# What every body of the page leaves out.
DESCRIBED = ("/v0/products", "/v0/billableMetrics", "/v0/fees", "/v0/plans")


@dataclass
class Part:
    """What stands under one heading: calls and events as they follow, and the bill."""

    title: str
    steps: list[str] = field(default_factory=list)
    bill: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def currency(self) -> str:
        return "EUR" if '"EUR"' in "".join(self.steps) else "USD"


def chapters() -> dict[str, list[Part]]:
    """Read the page: the parts of each chapter in order, the first of which makes what the others use."""
    found: dict[str, list[Part]] = {}
    part, is_block = Part(""), False
    for text in PAGE.read_text().splitlines():
        if text.startswith("## "):
            part = Part(text[3:])
            found[text[3:]] = [part]
        elif text.startswith("### "):
            part = Part(text[4:])
            found[list(found)[-1]].append(part)
        elif text.startswith("```"):
            is_block = not is_block
        elif is_block and text.startswith(" "):
            part.steps[-1] += " " + text.strip()
        elif is_block:
            part.steps.append(text)
        elif (row := ROW.fullmatch(text)) is not None:
            part.bill.append((row["line"].strip("* "), row["worked"].strip(), row["amount"]))
    return found


CHAPTERS = chapters()


class Reader:
    """Makes the calls of a chapter and remembers what they made."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.names: dict[str, str] = {}

    def run(self, part: Part) -> None:
        customer, clock = "", ""
        for step in part.steps:
            event = EVENT.fullmatch(step)
            if event is not None:
                self.send(customer, event)
                continue
            call = CALL.fullmatch(step)
            assert call is not None, step
            path, body = self.filled(call["path"]), json.loads(self.filled(call["body"]))
            if path == "/v0/subscriptions":
                customer, clock = self.world.customer(), self.world.clock(START)
                body |= {"name": part.title, "customerId": customer, "startedAt": START, "testClockId": clock}
            answer = self.world.api.post(path, self.whole(path, body), expect=200 if call["amount"] else 201)
            if call["amount"]:
                assert answer["totals"]["simulated"] == call["amount"], step
                continue
            self.names[call["name"]] = answer["id"]
            if "payment" in answer:
                self.world.pay(answer["payment"]["invoiceId"])
        if clock:
            self.world.advance(clock, AFTER)

    def send(self, customer: str, event: re.Match[str]) -> None:
        body = {
            "type": event["type"], "source": "examples", "subject": customer, "timestamp": event["at"],
            "data": json.loads(event["data"]),
        }  # fmt: skip
        self.world.api.post("/v0/events", body, expect=202)

    def filled(self, text: str) -> str:
        return re.sub(r"<(\w+)>", lambda found: self.names[found[1]], text)

    def whole(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        if path in (*DESCRIBED, "/v0/features"):
            body = {**body, "merchantId": self.world.id}
        if path in DESCRIBED:
            body = {"description": "", **body}
        if path == "/v0/prices":
            body = {"paymentTerm": "in_advance" if "feeId" in body else "in_arrears", **body}
        return body

    def bill(self) -> tuple[dict[str, str], str]:
        """Give January's invoice, a line by its name, and its total."""
        (january,) = (i for i in self.world.invoices(self.names["subscription"]) if i["sequenceNumber"] == 1)
        assert january["status"] in {"ISSUED", "PAID"}
        lines = self.world.lines(january["id"])
        for line in lines:
            assert recompute(line["provenance"]) == Decimal(line["totalPrice"])
        return {line["invoiceDisplayName"]: line["totalPrice"] for line in lines}, january["grandTotal"]


def worked_out(text: str) -> Decimal:
    """Work an arithmetic of the page out, exactly."""
    plain = text.replace(",", "").replace("×", "*").replace("−", "-")
    assert re.fullmatch(r"[\d.*/()+\- ]+", plain), text
    return Decimal(
        eval(re.sub(r"\d+(\.\d+)?", lambda number: f"Decimal('{number[0]}')", plain), {"Decimal": Decimal})
    )


@pytest.mark.parametrize("chapter", list(CHAPTERS))
def test_the_page_bills_what_it_says(world: World, chapter: str) -> None:
    reader = Reader(world)
    for part in CHAPTERS[chapter]:
        reader.run(part)
        if part.bill:
            lines, total = reader.bill()
            *rows, (last, _, amount) = part.bill
            assert lines == {name: shown for name, _, shown in rows}, part.title
            assert (last, total) == ("total", amount), part.title


def rows() -> Iterator[tuple[str, str, str, str]]:
    for parts in CHAPTERS.values():
        for part in parts:
            for name, worked, amount in part.bill:
                if worked:
                    yield f"{part.title}: {name}", worked, amount, part.currency


@pytest.mark.parametrize(("name", "worked", "amount", "currency"), list(rows()))
def test_its_arithmetic_is_right(name: str, worked: str, amount: str, currency: str) -> None:
    assert round_money(worked_out(worked), currency) == Decimal(amount)


def test_the_demo_has_the_same_plans_and_bills(world: World) -> None:
    seed_examples(world.merchant, as_of=at(START))
    wanted = {part.bill[-1][2] for parts in CHAPTERS.values() for part in parts if part.bill}
    found = {}
    for invoice in Invoice.objects.filter(sequence_number=1).select_related("subscription__plan"):
        assert invoice.status in {"ISSUED", "PAID"}, invoice.failure_reason
        found[invoice.subscription.plan.name] = format_amount(invoice.grand_total, invoice.currency)
    assert len(found) == 9
    assert set(found.values()) == wanted


def test_it_has_every_example() -> None:
    assert list(CHAPTERS) == [
        "LLM provider", "Data warehouse", "Video processing", "Developer tools", "Tiers by model",
    ]  # fmt: skip
    assert sum(bool(part.bill) for parts in CHAPTERS.values() for part in parts) == 9
