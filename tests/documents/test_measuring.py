"""What the typesetter is told of a table is what it would find by itself."""

from decimal import Decimal
from typing import Any

import pytest

from apps.documents.domain.layout import layout_of
from apps.documents.domain.paper import Paper, PaperLine
from apps.documents.services.measuring import measured
from apps.documents.services.typesetting import typeset
from tests.documents.samples import FEBRUARY, line, paper, two_taxes

STEPS = ["price the quantity: 1000000 at 0.000002 → 2", "round half-up to the minor unit → 2.00"]
NAMES = (
    "Tokens", "Ätna Ölçü Żółć ŉ", "株式会社テスト", "شركة الاختبار", "חברה", "Ελληνική", "", " padded  name ",
    "AVATAVA To. Ty, “fi ffl” — 11.7 1/2", "W" * 40,
    "Input tokens of the large model, by the thousand as agreed " * 2,
)  # fmt: skip


def unmeasured(layout: dict[str, Any]) -> dict[str, Any]:
    """Leave everything to the typesetter: no line's width is known, and no column may be told its own."""
    return {
        **layout,
        "widest": [["W" * 200]] * 4,
        "lines": [{**line, "ems": None} for line in layout["lines"]],
    }


def described(lines: int) -> str:
    return "\n".join(f"As agreed on {day} May" for day in range(lines))


def names_of_every_kind() -> list[PaperLine]:
    return [line("1.01", "7", name=name, description=name, steps=STEPS) for name in NAMES * 5]


def figures_of_every_width() -> list[PaperLine]:
    amounts = [Decimal(number) ** 4 / 8 for number in range(90)]
    return [
        line(str(amount), str(number % 20), unit_price=amount / 1000, quantity=amount, name=f"Item {number}")
        for number, amount in enumerate(amounts)
    ]


def rows_of_every_height() -> list[PaperLine]:
    """Enough of them to meet the ends of pages in many ways."""
    return [line("11.71", name="word " * (number % 13), description=described(number % 7)) for number in range(200)]


def marked() -> list[PaperLine]:
    lines = [
        line("-5.00", name="Goodwill"),
        line("49.00", is_late=True),
        line("-3", "7", kind="discount", name="Coupon " * 6, is_late=True),
        line("1", "0", is_out_of_scope=True),
        two_taxes(),
    ]
    return lines * 12


def too_wide() -> list[PaperLine]:
    figures = {"quantity": Decimal("123456789012.123456789"), "unit_price": Decimal("0.123456789012345")}
    return [line("123456789012345.67", name="A name that has no room", **figures)] * 30


@pytest.mark.parametrize(
    "lines", [names_of_every_kind, figures_of_every_width, rows_of_every_height, marked, too_wide, list]
)
def test_a_document_is_the_same_whether_or_not_its_table_is_measured(
    lines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = pdf_of(paper(*lines()))
    monkeypatch.setattr("apps.documents.services.typesetting.measured", unmeasured)
    assert pdf_of(paper(*lines())) == told


def pdf_of(made: Paper) -> bytes:
    return typeset(layout_of(made, logo_path=""), country="JP", at=FEBRUARY, images={})


def test_figures_that_differ_in_digits_alone_are_measured_once() -> None:
    lines = [line(f"{number}.5", name="Tokens") for number in range(100, 200)]
    table = measured(layout_of(paper(*lines, currency="USD"), logo_path=""))
    assert table["widest"] == [["0"], ["$000.00"], ["00 %"], ["$000.00"]]
    assert {one["ems"] for one in table["lines"]} == {table["lines"][0]["ems"]}


def test_only_a_line_of_plain_texts_has_a_known_width() -> None:
    lines = [line("1", name="Tokens"), line("1", name="株式会社"), line("1", description="שלום"), line("-1")]
    known = [one["ems"] is not None for one in measured(layout_of(paper(*lines), logo_path=""))["lines"]]
    assert known == [True, False, False, False]
