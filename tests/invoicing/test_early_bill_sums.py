"""However usage is split off before its period is over, all bills add up to one to the cent."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.invoicing.models import Invoice
from tests.invoicing.twins import PRICES, Twins
from tests.world import make_world

pytestmark = pytest.mark.django_db


EVENTS = st.lists(
    st.tuples(
        st.integers(1, 27),
        st.decimals("0", "12", places=3),
        st.sampled_from(["opus", "haiku"]),
        st.decimals("0.005", "0.6", places=3),
        st.booleans(),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize("name", PRICES)
@given(events=EVENTS, off=st.booleans(), voided=st.integers(0, 8))
@settings(max_examples=6, suppress_health_check=list(HealthCheck))
def test_all_bills_add_up_to_one_bill(
    name: str, events: list[tuple[int, Decimal, str, Decimal, bool]], off: bool, voided: int
) -> None:
    twins = Twins.on(make_world(), PRICES[name])
    if off:
        for _, subscription in (twins.split, twins.whole):
            body = {
                "type": "percentageDiscount",
                "percentageDiscount": "0.35",
                "effectiveFrom": "2026-01-11T00:00:00Z",
            }
            twins.world.api.post(f"/v0/subscriptions/{subscription['id']}/adjustments", body)
    for day, tokens, model, price, bills_then in events:
        twins.use(f"2026-01-{day:02d}T10:15:00Z", tokens=float(tokens), model=model, price=float(price))
        if bills_then:
            twins.bill()
    if 0 < voided <= len(events):
        twins.void(voided)
    twins.advance("2026-02-02T00:00:00Z")
    # What could not be given back in January is carried until usage of February covers it.
    twins.use("2026-02-10T00:00:00Z", tokens=500, model="haiku", price=0.5)
    twins.advance("2026-03-02T00:00:00Z")
    split, whole = twins.totals()
    assert split == whole
    assert all(row.grand_total >= 0 for row in Invoice.objects.filter(subscription=twins.row()))
