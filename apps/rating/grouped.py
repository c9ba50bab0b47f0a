"""One price for each value of a dimension: the most specific match, and a default for the rest."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from typing import Any, Self

from msgspec.structs import replace

from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.money import EXACT, format_decimal
from apps.rating.groups import (
    PriceGroup,
    ambiguities,
    other_paths,
    read_dimensions,
    read_free_units,
    read_groups,
    read_price,
)
from apps.rating.price_models import (
    REGISTRY,
    Component,
    PriceModel,
    TransactionPriceModel,
    components_of,
    parse_properties,
)
from apps.rating.price_models.base import Counter
from apps.rating.usage import Transaction, Usage

# Names of the wire that make a price one of groups, whatever its model.
NAMES = ("groups", "groupTiers", "groupBy", "sharedFreeUnits")
# Up to so many groups a line lists one by one; beyond, what those of a price come to.
LISTED_GROUPS = 500
SHARED, OWN = "shared", "own"
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class GroupedPrice:
    """Prices by the values of a metric's dimensions.

    Usage goes by the group that names the most dimensions and fits; what fits none goes by the default. With shared
    tiers everything of one price is priced together; with own tiers each combination of values walks the tiers, and
    uses up the allowances, by itself. Without usage only the default of shared tiers costs anything.

    Attributes:
        default: for what no group fits.
        groups: in the wire's order; no two that fit the same usage name equally many dimensions.
        dimensions: names of the dimensions whose values tell usage apart.
        has_own_tiers: whether each combination of values is priced by itself.
        free_units: units that cost nothing, of all groups together: taken off the groups in their order, then off the
            rest; each prices what is left.
    """

    default: PriceModel
    groups: tuple[PriceGroup, ...]
    dimensions: tuple[str, ...]
    has_own_tiers: bool
    free_units: Decimal = ZERO

    @classmethod
    def parse(cls, model: str, properties: Mapping[str, Any]) -> Self:
        """Read the wire's properties of a price with groups.

        Raises:
            InvalidError: naming every bad field as `properties.…`.
        """
        errors: list[FieldError] = []
        default = read_price(errors, "properties", model, {k: v for k, v in properties.items() if k not in NAMES})
        groups = read_groups(errors, model, properties.get("groups"))
        tiers = properties.get("groupTiers", SHARED)
        if tiers not in (SHARED, OWN):
            errors.append(FieldError("properties.groupTiers", f"Give {SHARED} or {OWN}.", "invalid"))
        named = sorted({name for group in groups for name, _ in group.match})
        dimensions = read_dimensions(errors, properties.get("groupBy"), named)
        if not errors and not groups and tiers == SHARED:
            errors.append(FieldError("properties.groups", f"Give a group, or groupTiers {OWN}.", "required"))
        if not errors and not dimensions:
            errors.append(FieldError("properties.groupBy", "Name the dimensions that make the groups.", "required"))
        free = read_free_units(errors, properties, is_shared=tiers == SHARED, default=default)
        errors.extend(ambiguities(groups))
        errors.extend(other_paths(default, groups))
        if errors or default is None:
            raise InvalidError("The price's properties are malformed.", errors=errors)
        return cls(default, tuple(groups), dimensions, tiers == OWN, free)

    @property
    def prices(self) -> list[PriceModel]:
        """The default's and the groups' prices."""
        return [self.default, *(group.price for group in self.groups)]

    @property
    def looks_at_events(self) -> bool:
        """Whether quantities by group do not say enough."""
        return isinstance(self.default, TransactionPriceModel)

    def components(self, quantity: Decimal) -> list[Component]:
        """Price a quantity that is of no group."""
        return self.default.components(quantity)

    def usage_of(
        self,
        quantities: Mapping[tuple[str, ...], Decimal],
        rounded: Callable[[Decimal], Decimal] = lambda known: known,
    ) -> Usage:
        """Give the usage of quantities by the values of `dimensions`, in their order.

        Args:
            quantities: what was used, by values.
            rounded: how the metric rounds what is priced together.
        """
        found: dict[_Key, Decimal] = {} if self.has_own_tiers else {(None, ()): ZERO}
        key_of = self.keys()
        for values, quantity in quantities.items():
            key = key_of(values)
            found[key] = EXACT.add(found.get(key, ZERO), quantity)
        found = {key: rounded(quantity) for key, quantity in found.items()}
        total = reduce(EXACT.add, found.values(), ZERO)
        free = self._free(found)
        return Usage(total, self._listed({key: _Counted(found[key], free=free.get(key)) for key in found}))

    def _free(self, found: Mapping["_Key", Decimal]) -> dict["_Key", Decimal]:
        """Give how many of each group's units are free."""
        left, taken = self.free_units, {}
        for key in sorted(found, key=lambda key: (len(self.groups) if key[0] is None else key[0], key[1])):
            taken[key] = max(min(found[key], left), ZERO)
            left = EXACT.subtract(left, taken[key])
        return {key: units for key, units in taken.items() if units}

    def counter(self) -> "GroupCounter":
        """Begin to count single events; only where `looks_at_events`."""
        return GroupCounter(self, self.keys())

    def keys(self) -> Callable[[tuple[str, ...]], "_Key"]:
        """Give what tells, by the values of `dimensions`, what some usage is priced together with.

        That is the number of its price, and with own tiers its values.
        """
        tables: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
        for number, group in enumerate(self.groups):
            tables.setdefault(group.names, {})[tuple(value for _, value in group.match)] = number
        # The most specific first; where two of a length fit, a third is more specific.
        places = [
            ([self.dimensions.index(name) for name in names], table)
            for names, table in sorted(tables.items(), key=lambda item: -len(item[0]))
        ]

        def key_of(values: tuple[str, ...]) -> _Key:
            own = values if self.has_own_tiers else ()
            for columns, table in places:
                number = table.get(tuple(values[column] for column in columns))
                if number is not None:
                    return number, own
            return None, own

        return key_of

    def rate_path(self) -> str:
        """Give the path of the price in the event's data; empty where none comes with the usage."""
        return self.default.rate_path() if isinstance(self.default, TransactionPriceModel) else ""

    def components_of(self, counted: Mapping[str, Any]) -> list[Component]:
        """Price what was counted, group by group; each part says whose it is."""
        parts: list[Component] = []
        for row in counted["groups"]:
            name = self._name(row)
            if "amount" in row:
                parts.append(Component(name, ZERO, ZERO, Decimal(row["amount"]), Decimal(row["amount"])))
                continue
            price = self.default if row["price"] is None else self.groups[row["price"]].price
            free = Decimal(row.get("free", ZERO))
            if free:
                parts.append(Component(f"{name}: free", free, ZERO, ZERO, ZERO))
            paid = EXACT.subtract(Decimal(row["quantity"]), free)
            if free and not paid and row["price"] is not None:
                continue  # as a group without usage, which costs nothing
            inner = components_of(price, Usage(paid, row.get("counted", {})))
            parts.extend(replace(part, label=f"{name}: {part.label}") for part in inner)
        return parts

    def describe(self) -> dict[str, Any]:
        """Give the price function as provenance records it: the default's, and each group's beside it."""
        return {
            **self.default.describe(),
            "groups": [{"match": dict(group.match), "price": group.price.describe()} for group in self.groups],
            "groupTiers": OWN if self.has_own_tiers else SHARED,
            "groupBy": list(self.dimensions),
            **({"sharedFreeUnits": format_decimal(self.free_units)} if self.free_units else {}),
        }

    @classmethod
    def from_description(cls, described: Mapping[str, Any]) -> Self:
        """Rebuild the price from its description."""
        return cls(
            REGISTRY[described["model"]].from_description(described),
            tuple(
                PriceGroup(
                    tuple(sorted(row["match"].items())), REGISTRY[described["model"]].from_description(row["price"])
                )
                for row in described["groups"]
            ),
            tuple(described["groupBy"]),
            described["groupTiers"] == OWN,
            Decimal(described.get("sharedFreeUnits", ZERO)),
        )

    def _listed(self, found: Mapping["_Key", "_Counted"]) -> dict[str, Any]:
        rows = [
            {
                "price": number,
                **({"values": dict(zip(self.dimensions, own, strict=True))} if self.has_own_tiers else {}),
                "quantity": format_decimal(known.quantity),
                **({"counted": known.counted} if known.counted is not None else {}),
                **({"free": format_decimal(known.free)} if known.free is not None else {}),
            }
            for (number, own), known in sorted(found.items(), key=lambda item: (_order(item[0][0]), item[0][1]))
        ]
        return {"groups": rows if len(rows) <= LISTED_GROUPS else list(self._summed(rows))}

    def _summed(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        """Give what the groups of each price come to, where they are too many to be listed."""
        for number in [None, *range(len(self.groups))]:
            own = [row for row in rows if row["price"] == number]
            quantity = amount = ZERO
            for row in own:
                quantity = EXACT.add(quantity, Decimal(row["quantity"]))
                for part in self.components_of({"groups": [row]}):
                    amount = EXACT.add(amount, part.amount)
            if own:
                yield {
                    "price": number, "groupCount": len(own),
                    "quantity": format_decimal(quantity), "amount": format_decimal(amount),
                }  # fmt: skip

    def _name(self, row: Mapping[str, Any]) -> str:
        values = row.get("values")
        if values is None:
            values = {} if row["price"] is None else dict(self.groups[row["price"]].match)
        return ", ".join(f"{name} {value or '(none)'}" for name, value in values.items()) or "the rest"


_Key = tuple[int | None, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Counted:
    quantity: Decimal
    counted: dict[str, Any] | None = None
    free: Decimal | None = None


@dataclass(slots=True)
class GroupCounter:
    """Counts each group's events with the counter of its price."""

    price: GroupedPrice
    key_of: Callable[[tuple[str, ...]], _Key]
    counters: dict[_Key, Counter] = field(default_factory=dict)
    quantities: dict[_Key, Decimal] = field(default_factory=dict)

    def add(self, transaction: Transaction) -> None:
        key = self.key_of(tuple(transaction.group.get(name, "") for name in self.price.dimensions))
        if key not in self.counters:
            number, _ = key
            price = self.price.default if number is None else self.price.groups[number].price
            assert isinstance(price, TransactionPriceModel)  # all are of one model
            self.counters[key] = price.counter()
        self.counters[key].add(transaction)
        self.quantities[key] = EXACT.add(self.quantities.get(key, ZERO), transaction.value)

    def counted(self) -> dict[str, Any]:
        found = {key: _Counted(self.quantities[key], counter.counted()) for key, counter in self.counters.items()}
        return self.price._listed(found)


AnyPrice = PriceModel | GroupedPrice


def parse_price(model: str, properties: Mapping[str, Any]) -> AnyPrice:
    """Read the wire's properties of a price, with groups or without.

    Raises:
        InvalidError: the model is unknown, or a field is malformed; every bad field is named.
    """
    if isinstance(properties, Mapping) and any(properties.get(name) is not None for name in NAMES):
        return GroupedPrice.parse(model, properties)
    return parse_properties(model, properties)


def price_of(described: Mapping[str, Any]) -> AnyPrice:
    """Rebuild a price from its description, to recompute a line by its provenance alone."""
    if "groups" in described:
        return GroupedPrice.from_description(described)
    return REGISTRY[described["model"]].from_description(described)


def priced(price: AnyPrice, usage: Usage) -> list[Component]:
    """Price the usage of a period; the amounts of the parts sum to the line's."""
    if not isinstance(price, GroupedPrice):
        return components_of(price, usage)
    return price.components_of(usage.counted) if usage.counted else price.components(usage.quantity)


def _order(number: int | None) -> int:
    return -1 if number is None else number


__all__ = ["AnyPrice", "GroupedPrice", "PriceGroup", "parse_price", "price_of", "priced"]
