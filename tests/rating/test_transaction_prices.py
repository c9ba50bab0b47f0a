"""Prices of single events against oracles that go through them one by one, in fractions."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from apps.rating.price_models import TransactionPriceModel, amount_of, components_of, count, parse_properties
from apps.rating.price_models.dynamic import LISTED_RATES
from apps.rating.usage import Transaction, Usage

amounts = st.decimals(0, 500, places=2, allow_nan=False)
signed = st.decimals(-500, 500, places=2, allow_nan=False)
rates = st.decimals(0, 3, places=5, allow_nan=False)


def price_of(model: str, **properties: Any) -> TransactionPriceModel:
    price = parse_properties(
        model, {name: str(v) if isinstance(v, Decimal) else v for name, v in properties.items() if v is not None}
    )
    assert isinstance(price, TransactionPriceModel)
    return price


def amount(price: TransactionPriceModel, events: list[Transaction]) -> Decimal:
    return amount_of(components_of(price, Usage(Decimal(0), count(price, events))))


def spent(price: TransactionPriceModel, *values: str) -> Decimal:
    return amount(price, [Transaction(Decimal(value)) for value in values])


@given(
    values=st.lists(amounts, max_size=12),
    percentage=st.decimals(0, 10, places=4, allow_nan=False),
    fixed=st.decimals(0, 5, places=2, allow_nan=False),
    bounds=st.tuples(st.none() | amounts, st.none() | amounts),
    free_events=st.none() | st.integers(0, 6),
    free_amount=st.none() | amounts,
)
def test_percentage_asks_each_event_how_much_of_it_is_paid(
    values: list[Decimal],
    percentage: Decimal,
    fixed: Decimal,
    bounds: tuple[Decimal | None, Decimal | None],
    free_events: int | None,
    free_amount: Decimal | None,
) -> None:
    low, high = bounds
    if low is not None and high is not None and low > high:
        low, high = high, low
    price = price_of(
        "percentage", percentage=percentage, fixedCharge=fixed, minCharge=low, maxCharge=high,
        freeEvents=free_events, freeAmount=free_amount,
    )  # fmt: skip
    owed, events_left, money_left = Fraction(0), free_events, free_amount
    for value in values:
        gift = Decimal(0)
        has_allowance = free_events is not None or free_amount is not None
        if has_allowance and events_left != 0 and (money_left is None or money_left > 0):
            gift = value if money_left is None else min(value, money_left)
            if money_left is not None:
                money_left -= gift
            if gift == value:
                if events_left is not None:
                    events_left -= 1
                continue
        charge = Fraction(value - gift) * Fraction(percentage) + Fraction(fixed)
        if low is not None:
            charge = max(charge, Fraction(low))
        if high is not None:
            charge = min(charge, Fraction(high))
        owed += charge
    assert Fraction(amount(price, [Transaction(value) for value in values])) == owed


def test_the_published_example_of_a_percentage() -> None:
    price = price_of("percentage", percentage="0.029", minCharge="0.30", maxCharge="100")
    assert spent(price, "10") == Decimal("0.30")
    assert spent(price, "1000") == 29
    assert spent(price, "10000") == 100
    assert spent(price, "10", "1000", "10000") == Decimal("129.30")
    assert spent(price) == 0


def test_the_event_that_passes_the_free_amount_pays_for_what_is_beyond_it() -> None:
    price = price_of("percentage", percentage="0.013", fixedCharge="2", freeEvents=3, freeAmount="250")
    assert spent(price, "50", "100") == 0
    assert spent(price, "50", "100", "250") == Decimal("3.95")
    assert spent(price, "50", "100", "250", "400") == Decimal("11.15")


def test_what_is_given_back_costs_its_share_and_no_more_than_was_owed() -> None:
    price = price_of("percentage", percentage="0.1", fixedCharge="1")
    assert spent(price, "100", "-50") == 6
    assert spent(price, "100", "-500") == 0
    free = price_of("percentage", percentage="0.1", freeAmount="100")
    assert spent(free, "100", "-50") == 0


@given(values=st.lists(st.tuples(signed, st.none() | rates), max_size=12), low=rates, width=rates)
def test_dynamic_multiplies_each_event_by_its_own_price(
    values: list[tuple[Decimal, Decimal | None]], low: Decimal, width: Decimal
) -> None:
    price = price_of("dynamic", minPrice=low, maxPrice=low + width)
    owed = Fraction(0)
    for value, rate in values:
        held = low if rate is None else min(max(rate, low), low + width)
        owed += Fraction(value) * Fraction(held)
    assert Fraction(amount(price, [Transaction(*row) for row in values])) == owed


def test_dynamic_says_which_prices_it_held_back() -> None:
    price = price_of("dynamic", minPrice="0.10", maxPrice="0.50")
    rows = [("1", "0.2"), ("2", "0.20"), ("3", None), ("4", "0.01"), ("5", "9")]
    events = [Transaction(Decimal(value), None if rate is None else Decimal(rate)) for value, rate in rows]
    assert count(price, events) == {
        "withoutPrice": 1,
        "belowMinimum": 1,
        "aboveMaximum": 1,
        "rates": [
            {"rate": "0.1", "quantity": "7"},
            {"rate": "0.2", "quantity": "3"},
            {"rate": "0.5", "quantity": "5"},
        ],
    }
    assert amount(price, events) == Decimal("3.8")


def test_more_prices_than_one_can_read_are_summed_up() -> None:
    price = price_of("dynamic", minPrice="0", maxPrice="1000")
    events = [Transaction(Decimal(2), Decimal(rate)) for rate in range(LISTED_RATES + 1)]
    counted = count(price, events)
    assert "rates" not in counted
    assert (counted["events"], counted["amount"]) == (LISTED_RATES + 1, str(2 * sum(range(LISTED_RATES + 1))))
    assert amount(price, events) == 2 * sum(range(LISTED_RATES + 1))
    assert "rates" in count(price, events[:-1])


@given(values=st.lists(amounts, max_size=8), ends=st.sets(st.integers(1, 1000), max_size=3), data=st.data())
def test_graduated_percentage_takes_each_cent_of_the_sum_to_its_tier(
    values: list[Decimal], ends: set[int], data: st.DataObject
) -> None:
    tiers = [
        (end, data.draw(st.decimals(0, 1, places=4)), data.draw(st.integers(0, 9))) for end in [*sorted(ends), None]
    ]
    wire = {
        "tiers": [
            {"upTo": None if end is None else str(end), "percentage": str(rate), "flatFee": str(flat)}
            for end, rate, flat in tiers
        ]
    }
    whole, owed, floor = sum(values, Decimal(0)), Fraction(0), Fraction(0)
    for number, (end, rate, flat) in enumerate(tiers):
        if number and whole <= floor:
            break
        top = Fraction(whole) if end is None else min(Fraction(whole), Fraction(end))
        owed += Fraction(flat) + (top - floor) * Fraction(rate)
        floor = Fraction(end or 0)
    assert Fraction(amount_of(parse_properties("graduated_percentage", wire).components(whole))) == owed
