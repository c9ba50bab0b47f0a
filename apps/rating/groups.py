"""Reading the groups of a price that differs by dimensions, and what keeps them from being clear."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations, product
from typing import Any

from apps.kernel.errors import FieldError, InvalidError
from apps.rating.price_models import PriceModel, TransactionPriceModel, parse_properties
from apps.rating.price_models.base import Reader

MAXIMUM_GROUPS = 500
MAXIMUM_DIMENSIONS = 5
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class PriceGroup:
    """A price for usage whose dimensions have these values, sorted by the dimensions' names."""

    match: tuple[tuple[str, str], ...]
    price: PriceModel

    @property
    def names(self) -> tuple[str, ...]:
        """The dimensions that it names."""
        return tuple(name for name, _ in self.match)


def read_price(errors: list[FieldError], path: str, model: str, properties: Any) -> PriceModel | None:
    try:
        return parse_properties(model, properties)
    except InvalidError as error:
        errors.extend(
            FieldError(problem.field.replace("properties", path, 1), problem.message, problem.code)
            for problem in error.errors
        )
        return None


def read_groups(errors: list[FieldError], model: str, raw: Any) -> list[PriceGroup]:
    rows = raw if raw is not None else []
    if not isinstance(rows, list) or len(rows) > MAXIMUM_GROUPS:
        errors.append(FieldError("properties.groups", f"Give a list of at most {MAXIMUM_GROUPS} groups.", "invalid"))
        return []
    found: list[PriceGroup] = []
    for number, row in enumerate(rows):
        path = f"properties.groups.{number}"
        if not isinstance(row, Mapping) or not isinstance(row.get("properties"), Mapping):
            errors.append(FieldError(path, "Give an object with match and properties.", "invalid"))
            continue
        match = row.get("match")
        if not isinstance(match, Mapping) or not match or not all(isinstance(v, str) for v in match.values()):
            errors.append(FieldError(f"{path}.match", "Give the value, as text, of a dimension or more.", "invalid"))
            continue
        price = read_price(errors, f"{path}.properties", model, row["properties"])
        if price is not None:
            found.append(PriceGroup(tuple(sorted(match.items())), price))
    return found


def read_dimensions(errors: list[FieldError], raw: Any, named: Sequence[str]) -> tuple[str, ...]:
    found = named if raw is None else raw
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        errors.append(FieldError("properties.groupBy", "Give a list of names of dimensions.", "invalid"))
        return ()
    missing = [name for name in named if name not in found]
    if missing or len(set(found)) != len(found):
        message = f"Name each dimension once, also {', '.join(missing)}." if missing else "Name each dimension once."
        errors.append(FieldError("properties.groupBy", message, "invalid"))
    if len(found) > MAXIMUM_DIMENSIONS:
        errors.append(FieldError("properties.groupBy", f"Use at most {MAXIMUM_DIMENSIONS} dimensions.", "too_many"))
    return tuple(found)


def read_free_units(
    errors: list[FieldError], properties: Mapping[str, Any], *, is_shared: bool, default: PriceModel | None
) -> Decimal:
    reader = Reader(properties)
    free = reader.optional("sharedFreeUnits", places=9, low=ZERO) or ZERO
    errors.extend(reader.errors)
    if free and not is_shared:
        message = "Groups share free units only where they share tiers."
        errors.append(FieldError("properties.sharedFreeUnits", message, "invalid"))
    if free and isinstance(default, TransactionPriceModel):
        message = "A price of single events has free events, or a free amount, instead."
        errors.append(FieldError("properties.sharedFreeUnits", message, "invalid"))
    return free


def ambiguities(groups: Sequence[PriceGroup]) -> Iterator[FieldError]:
    """Two groups that fit the same usage and name equally many dimensions need a third that names them all."""
    known: dict[tuple[tuple[str, str], ...], int] = {}
    by_names: dict[tuple[str, ...], list[int]] = {}
    for number, group in enumerate(groups):
        first = known.setdefault(group.match, number)
        if first != number:
            yield FieldError(f"properties.groups.{number}.match", f"It is that of group {first}, too.", "duplicate")
        # Those of the same dimensions differ in a value, so they never fit the same usage.
        by_names.setdefault(group.names, []).append(number)
    for (names, ones), (other_names, others) in combinations(by_names.items(), 2):
        if len(names) != len(other_names):
            continue
        for first, second in product(ones, others):
            both = {**dict(groups[first].match), **dict(groups[second].match)}
            if both.items() >= set(groups[first].match) and tuple(sorted(both.items())) not in known:
                text = ", ".join(f"{name} {value}" for name, value in sorted(both.items()))
                message = f"Usage may fit it and group {first}; add a group for {text}."
                yield FieldError(f"properties.groups.{second}.match", message, "ambiguous")


def other_paths(default: PriceModel | None, groups: Sequence[PriceGroup]) -> Iterator[FieldError]:
    if not isinstance(default, TransactionPriceModel):
        return
    for number, group in enumerate(groups):
        if isinstance(group.price, TransactionPriceModel) and group.price.rate_path() != default.rate_path():
            yield FieldError(
                f"properties.groups.{number}.properties", "All groups read the price at the same place.", "invalid"
            )
