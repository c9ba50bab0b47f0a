"""What is written at once says the same as what is worked out."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict

from apps.kernel.rows import _json
from apps.kernel.time import Period
from apps.rating.lines import rate_usage
from apps.rating.price_models import parse_properties
from apps.rating.reading import recompute
from apps.rating.usage import Usage
from apps.rating.written import Page, rate_plainly
from tests.rating.test_lines import WIRES

PERIOD = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
FIXED = {"price": {"type": "price", "ref": {"name": 'A "quoted" 100 %s name\nwith 雪 and \\'}}, "usage": {}}
# Also such as have more digits than prices are usually tried with.
quantities = st.decimals(-(10**6), 10**24, places=9, allow_nan=False) | st.integers(0, 10**9).map(Decimal)


def page(described: Any, currency: str, sources: Any) -> Page:
    return Page(described=described, currency=currency, period=PERIOD, sources=sources, calculated_at=PERIOD.end)


@given(
    wire=st.sampled_from([*WIRES, ("standard", {"unitPrice": "-1.5"}), ("standard", {"unitPrice": "1E+2"})]),
    quantity=quantities,
    currency=st.sampled_from(["USD", "JPY", "BHD"]),
    named=st.text(),
)
def test_a_page_filled_in_is_the_calculation(
    wire: tuple[str, dict[str, Any]], quantity: Decimal, currency: str, named: str
) -> None:
    price = parse_properties(*wire)
    described = price.describe()
    source = {"type": "billingPeriod", "ref": {"subscriptionId": named}}
    worked_out = rate_usage(
        price=price, usage=Usage(quantity), currency=currency, period=PERIOD, sources={**FIXED, "period": source},
        calculated_at=PERIOD.end, described=described,
    )  # fmt: skip

    written = rate_plainly(
        price, Usage(quantity), page(described, currency, FIXED), msgspec.json.encode(source).decode()
    )

    # As it is stored: the same text, and the same when it is read.
    assert _json(written.provenance) == _json(worked_out.provenance)
    assert written.provenance == worked_out.provenance
    assert asdict(written) == asdict(worked_out)
    assert recompute(written.provenance) == written.subtotal


@pytest.mark.parametrize("looks_like", ["\ue0000", "\ue0001", "\ue0004"])
def test_what_looks_like_a_hole_is_not_filled(looks_like: str) -> None:
    described = parse_properties("standard", {"unitPrice": "2"}).describe()

    with pytest.raises(ValueError, match="look like holes"):
        page(described, "USD", {"usage": {"valueProperty": looks_like}})

    # Only a text that is nothing else does.
    assert page(described, "USD", {"usage": {"valueProperty": f"$.{looks_like}"}})


def test_what_is_written_can_be_looked_into() -> None:
    described = parse_properties("standard", {"unitPrice": "2"}).describe()
    written = rate_plainly(
        parse_properties("standard", {"unitPrice": "2"}), Usage(Decimal(3)), page(described, "USD", {}), "{}"
    ).provenance

    assert written["result"] == {"amount": "6", "quantity": "3", "unitPrice": "2"}
    assert json.loads(_json(written)) == {**written}
    assert "steps" in written
    assert len(written) == len({**written})
    assert written.get("nothing") is None
