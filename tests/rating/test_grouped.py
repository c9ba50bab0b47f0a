"""Prices by dimension against an oracle that asks every group of every unit of usage."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.kernel.errors import InvalidError
from apps.rating.grouped import LISTED_GROUPS, GroupedPrice, parse_price, price_of, priced
from apps.rating.price_models import amount_of, components_of, count, parse_properties
from apps.rating.price_models.base import TransactionPriceModel
from apps.rating.usage import Transaction, Usage

MODELS, REGIONS = ["", "opus", "haiku", "sonnet"], ["", "eu", "us"]
LADDER = {"tiers": [{"upTo": "10", "unitPrice": "1", "flatFee": "2"}, {"upTo": None, "unitPrice": "0.5"}]}
STEEP = {"tiers": [{"upTo": "5", "unitPrice": "3"}, {"upTo": None, "unitPrice": "2"}]}
# Wider apart than usage is, so that a wrong one shows.
TERMS: dict[str, list[dict[str, Any]]] = {
    "standard": [{"unitPrice": "1"}, {"unitPrice": "100"}, {"unitPrice": "10000"}, {"unitPrice": "-7"}],
    "graduated": [LADDER, STEEP, LADDER, STEEP],
    "volume": [STEEP, STEEP, {"tiers": [{"upTo": None, "unitPrice": "9"}]}, STEEP],
    "percentage": [
        {"percentage": "0.1", "freeEvents": 1}, {"percentage": "0.5", "freeAmount": "20"}, {"percentage": "1"},
        {"percentage": "2", "fixedCharge": "3"},
    ],
}  # fmt: skip
MATCHES = [{"model": "opus"}, {"model": "opus", "region": "eu"}, {"model": "haiku", "region": ""}]
events = st.lists(
    st.tuples(st.sampled_from(MODELS), st.sampled_from(REGIONS), st.integers(1, 15).map(Decimal)), max_size=20
)


def grouped(model: str, properties: Mapping[str, Any]) -> GroupedPrice:
    price = parse_price(model, properties)
    assert isinstance(price, GroupedPrice)
    # Every test goes through what a line keeps.
    again = price_of(json.loads(json.dumps(price.describe())))
    assert again == price
    return price


def wire(model: str, tiers: str | None, matches: Sequence[Mapping[str, str]] = MATCHES) -> dict[str, Any]:
    default, *others = TERMS[model]
    return {
        **default,
        "groups": [{"match": m, "properties": p} for m, p in zip(matches, others, strict=True)],
        **({} if tiers is None else {"groupTiers": tiers}),
    }


def oracle(model: str, properties: dict[str, Any], sent: list[tuple[str, str, Decimal]], *, own: bool) -> Decimal:
    default = {name: value for name, value in properties.items() if name not in {"groups", "groupTiers"}}
    piles: dict[Any, list[Decimal]] = defaultdict(list)
    if not own:
        piles[None, None] = []  # the default counts even when nothing falls to it
    for name, region, value in sent:
        best, depth = None, 0
        for number, row in enumerate(properties["groups"]):
            fits = all({"model": name, "region": region}[key] == wanted for key, wanted in row["match"].items())
            if fits and len(row["match"]) > depth:
                best, depth = number, len(row["match"])
        piles[best, (name, region) if own else None].append(value)
    total = Decimal(0)
    for (number, _), values in piles.items():
        price = parse_properties(model, default if number is None else properties["groups"][number]["properties"])
        usage = Usage(sum(values, Decimal(0)))
        if isinstance(price, TransactionPriceModel):
            usage = Usage(usage.quantity, count(price, [Transaction(value) for value in values]))
        total += amount_of(components_of(price, usage))
    return total


def usage_of(price: GroupedPrice, sent: list[tuple[str, str, Decimal]]) -> Usage:
    """Give usage as the selectors do: of quantities by combination, or of single events."""
    total = sum((value for _, _, value in sent), Decimal(0))
    if price.looks_at_events:
        counter = price.counter()
        for name, region, value in sent:
            counter.add(Transaction(value, None, {"model": name, "region": region}))
        return Usage(total, json.loads(json.dumps(counter.counted())))
    quantities: dict[tuple[str, ...], Decimal] = defaultdict(Decimal)
    for name, region, value in sent:
        quantities[name, region] += value
    usage = price.usage_of(quantities)
    assert usage.quantity == total
    return Usage(usage.quantity, json.loads(json.dumps(usage.counted)))


@pytest.mark.parametrize("model", sorted(TERMS))
@pytest.mark.parametrize("tiers", [None, "shared", "own"])
@given(sent=events)
def test_usage_goes_by_the_most_specific_group(
    model: str, tiers: str | None, sent: list[tuple[str, str, Decimal]]
) -> None:
    properties = wire(model, tiers)
    price = grouped(model, properties)
    parts = priced(price, usage_of(price, sent))
    assert amount_of(parts) == oracle(model, properties, sent, own=tiers == "own")
    assert all(part.amount == part.quantity * part.unit_price + part.flat for part in parts)


@pytest.mark.parametrize("model", ["standard", "graduated", "volume"])
@given(sent=events, free=st.integers(0, 60))
def test_shared_free_units_are_taken_one_by_one_off_the_first_groups(
    model: str, sent: list[tuple[str, str, Decimal]], free: int
) -> None:
    properties = wire(model, None)
    price = grouped(model, {**properties, "sharedFreeUnits": str(free)})
    key_of = price.keys()
    # Unit by unit, those of the first group before those of the second, and the rest's last.
    order = [0, 1, 2, None]
    units = sorted(
        (order.index(key_of((name, region))[0]), name, region)
        for name, region, value in sent
        for _ in range(int(value))
    )
    left = [(name, region, Decimal(1)) for _, name, region in units[free:]]
    found = usage_of(price, sent)
    assert amount_of(priced(price, found)) == oracle(model, properties, left, own=False)
    gifts = [Decimal(row.get("free", 0)) for row in found.counted["groups"]]
    assert sum(gifts) == min(free, len(units))


def test_shared_free_units_leave_what_gives_back_alone() -> None:
    terms = {"unitPrice": "1", "groups": [{"match": {"model": "opus"}, "properties": {"unitPrice": "2"}}]}
    price = grouped("standard", {**terms, "sharedFreeUnits": "10"})
    parts = priced(price, price.usage_of({("opus",): Decimal(-4), ("",): Decimal("12.5")}))
    assert amount_of(parts) == Decimal(-8) + Decimal("2.5")
    assert [(part.label, part.quantity) for part in parts if part.label.endswith("free")] == [("the rest: free", 10)]


def test_a_price_without_groups_is_what_it_was() -> None:
    assert parse_price("standard", {"unitPrice": "1"}) == parse_properties("standard", {"unitPrice": "1"})
    assert parse_price("standard", {"unitPrice": "1", "groups": None}) == parse_price("standard", {"unitPrice": "1"})


def test_own_tiers_need_no_groups() -> None:
    price = grouped("graduated", {**LADDER, "groupTiers": "own", "groupBy": ["model"]})
    used = price.usage_of({("opus",): Decimal(10), ("haiku",): Decimal(20), ("",): Decimal(1)})
    # 2 + 10, 2 + 10 + 5, 2 + 1; together they were 2 + 10 + 10.5.
    assert [(part.label, part.amount) for part in priced(price, used)] == [
        ("model (none): tier 1", Decimal(3)),
        ("model haiku: tier 1", Decimal(12)),
        ("model haiku: tier 2", Decimal(5)),
        ("model opus: tier 1", Decimal(12)),
    ]
    assert priced(price, price.usage_of({})) == []


def test_more_groups_than_one_can_read_are_summed_up_by_their_price() -> None:
    terms = {"unitPrice": "1", "groups": [{"match": {"model": "opus"}, "properties": {"unitPrice": "3"}}]}
    price = grouped("standard", {**terms, "groupTiers": "own"})
    quantities = {(f"m{n:04}",): Decimal(2) for n in range(LISTED_GROUPS)} | {("opus",): Decimal(5)}
    used = price.usage_of(quantities)
    assert used.counted["groups"] == [
        {"price": None, "groupCount": LISTED_GROUPS, "quantity": "1000", "amount": "1000"},
        {"price": 0, "groupCount": 1, "quantity": "5", "amount": "15"},
    ]
    assert amount_of(priced(price, used)) == 1015
    assert price.components(Decimal(4))[0].amount == 4


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ({"groups": "x"}, ["groups"]),
        ({"sharedFreeUnits": "5"}, ["groups"]),
        ({"groupTiers": "own", "groupBy": ["model"], "sharedFreeUnits": "5"}, ["sharedFreeUnits"]),
        ({"groupTiers": "own", "groupBy": ["model"], "sharedFreeUnits": "-5"}, ["sharedFreeUnits"] * 2),
        ({"groups": []}, ["groups"]),
        ({"groups": [7]}, ["groups.0"]),
        ({"groups": [{"match": {}, "properties": {}}]}, ["groups.0.match"]),
        ({"groups": [{"match": {"model": 5}, "properties": {}}]}, ["groups.0.match"]),
        ({"groups": [{"match": {"model": "a"}, "properties": {}}]}, ["groups.0.properties.unitPrice"]),
        ({"groupTiers": "mine", "groupBy": ["model"]}, ["groupTiers"]),
        ({"groupTiers": "own"}, ["groupBy"]),
        ({"groupTiers": "own", "groupBy": "model"}, ["groupBy"]),
        ({"groupTiers": "own", "groupBy": ["a", "a"]}, ["groupBy"]),
        ({"groupTiers": "own", "groupBy": list("abcdef")}, ["groupBy"]),
        (
            {"groups": [{"match": {"model": "a"}, "properties": {"unitPrice": "1"}}], "groupBy": ["region"]},
            ["groupBy"],
        ),
    ],
)
def test_every_bad_field_of_groups_is_named(properties: dict[str, Any], named: list[str]) -> None:
    with pytest.raises(InvalidError) as refused:
        parse_price("standard", {"unitPrice": "1", **properties})
    assert [problem.field for problem in refused.value.errors] == [f"properties.{name}" for name in named]


def test_a_group_of_another_price_path_is_refused() -> None:
    bounds = {"minPrice": "1", "maxPrice": "2"}
    row = {"match": {"model": "a"}, "properties": {**bounds, "priceProperty": "$.other"}}
    with pytest.raises(InvalidError, match="malformed") as refused:
        parse_price("dynamic", {**bounds, "groups": [row]})
    assert refused.value.errors[0].field == "properties.groups.0.properties"


def test_there_is_never_a_choice_between_groups() -> None:
    def errors(*matches: dict[str, str]) -> list[tuple[str, str]]:
        rows = [{"match": match, "properties": {"unitPrice": "1"}} for match in matches]
        try:
            parse_price("standard", {"unitPrice": "1", "groups": rows})
        except InvalidError as error:
            return [(problem.field, problem.code) for problem in error.errors]
        return []

    opus, europe, both = {"model": "opus"}, {"region": "eu"}, {"model": "opus", "region": "eu"}
    assert errors(opus, europe) == [("properties.groups.1.match", "ambiguous")]
    assert errors(opus, both, europe) == []
    assert errors(opus, {"model": "haiku"}, both) == []
    assert errors(opus, opus) == [("properties.groups.1.match", "duplicate")]
    # Of equal length, yet they never fit the same usage.
    assert errors(both, {"model": "haiku", "plan": "x"}) == []
