"""Price models that other packages bring along."""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from importlib.metadata import EntryPoint
from typing import Any

from apps.rating.price_models.base import PriceModel

GROUP = "metergate.price_models"
# As wide as the column that stores it.
CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")
MEMBERS = ("CODE", "IS_PROGRESSIVE", "EXAMPLE", "parse", "components", "describe", "from_description")
PROBES = (Decimal(0), Decimal("0.5"), Decimal(1000))


class PriceModelError(Exception):
    """An installed price model cannot be used; the installation must not bill by guesses, so it does not start."""


def installed_models(entries: Iterable[EntryPoint], *, taken: Collection[str]) -> dict[str, type[PriceModel]]:
    """Load the price models of installed packages by their codes, and try each on its own example.

    Args:
        entries: entry points, each named by the code of its model.
        taken: codes that are used already.

    Raises:
        PriceModelError: one cannot be loaded, has the code of another, or breaks what a price model promises.
    """
    found: dict[str, type[PriceModel]] = {}
    for entry in sorted(entries, key=lambda entry: entry.name):
        try:
            model = entry.load()
        except Exception as error:
            raise _refusal(entry, f"it cannot be loaded: {error!r}") from error
        if entry.name in taken or entry.name in found:
            raise _refusal(entry, "there is a price model of this code already")
        problem = _problem(entry.name, model)
        if problem is not None:
            raise _refusal(entry, problem)
        found[entry.name] = model
    return found


def _problem(code: str, model: Any) -> str | None:
    if not CODE.fullmatch(code):
        return "a code is up to 40 small letters, digits and underscores"
    missing = [name for name in MEMBERS if not hasattr(model, name)]
    if missing or not isinstance(model, type):
        return f"it is not a class with {', '.join(missing or MEMBERS)}"
    if code != model.CODE:  # type: ignore[attr-defined]
        return f"its CODE is {model.CODE!r}"  # type: ignore[attr-defined]
    try:
        return _broken_promise(model)
    except Exception as error:
        return f"its EXAMPLE fails: {error!r}"


def _broken_promise(model: type[PriceModel]) -> str | None:
    example: Mapping[str, Any] = json.loads(json.dumps(dict(model.EXAMPLE)))
    price = model.parse(example)
    described = json.loads(json.dumps(price.describe()))
    if described.get("model") != model.CODE:
        return "describe() does not name it as model"
    again = model.from_description(described)
    for quantity in PROBES:
        parts = price.components(quantity)
        if not all(type(part.amount) is Decimal and part.amount.is_finite() for part in parts):
            return "components() gives an amount that is not a Decimal"
        if again.components(quantity) != parts:
            return "from_description() prices otherwise than what was described"
    return None


def _refusal(entry: EntryPoint, problem: str) -> PriceModelError:
    package = entry.dist.name if entry.dist is not None else "an installed package"
    return PriceModelError(f"Price model {entry.name} ({entry.value}) of {package}: {problem}.")
