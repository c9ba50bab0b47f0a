"""What a feature gives its holder, as prices and issues write it down."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from apps.kernel.time import Cadence, parse_instant

LARGEST = Decimal("999999999999")
PLACES = 9
PRIORITIES = (-32768, 32767)
MOST_SLOTS = 1_000_000
# Of numbers in the config of a static feature, on either side of the point.
MOST_DIGITS = 1_000
STATIC_KEYS = frozenset({"type", "config", "slots"})
METERED_KEYS = frozenset(
    {
        "type",
        "usagePeriod",
        "isSoftLimit",
        "issueAfterReset",
        "issueAfterResetPriority",
        "preserveOverageAtReset",
        "resetMaxRollover",
        "resetMinRollover",
    }
)


@dataclass(frozen=True, slots=True)
class Template:
    """The terms of a right.

    Attributes:
        config: of a static feature; None of others.
        slots: of a static feature, how many may be held at once; None limits none.
        is_soft: whether use goes on when nothing is left.
        amount: units issued at the beginning and at each reset; None issues none.
        priority: of these units.
        is_preserving: whether a reset carries overage over.
        rollover_min: least rest of these units that a reset keeps.
        rollover_max: most of it.
        cadence: from reset to reset; None never resets.
        anchor: that resets count from; None leaves it to who holds it.
    """

    config: Mapping[str, Any] | None = None
    slots: int | None = None
    is_soft: bool = False
    amount: Decimal | None = None
    priority: int = 1
    is_preserving: bool = False
    rollover_min: Decimal = Decimal(0)
    rollover_max: Decimal = Decimal(0)
    cadence: Cadence | None = None
    anchor: datetime | None = None


# Without a template nothing is limited: all of the usage is billed, but for units that are granted.
OPEN_END = Template(is_soft=True)
SHORTEST_SECONDS = 3600


class TemplateError(ValueError):
    """A template that cannot be read.

    Attributes:
        problems: what is wrong, by the path of the key.
    """

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(problems.values()))
        self.problems = problems


@dataclass(slots=True)
class _Reader:
    source: Mapping[str, Any]
    problems: dict[str, str] = field(default_factory=dict)

    def flag(self, key: str) -> bool:
        value = self.source.get(key, False)
        if not isinstance(value, bool):
            self.problems[key] = "Give true or false."
            return False
        return value

    def units(self, key: str) -> Decimal | None:
        if self.source.get(key) is None:
            return None
        value = read_units(self.source[key])
        if value is None:
            self.problems[key] = f"Give a number from 0 to {LARGEST} with at most {PLACES} decimal places."
        return value

    def priority(self, key: str) -> int:
        value = self.source.get(key, 1)
        whole = read_units(value, low=Decimal(PRIORITIES[0]))
        low, high = PRIORITIES
        if whole is None or whole != whole.to_integral_value() or not low <= whole <= high:
            self.problems[key] = f"Give a whole number from {low} to {high}."
            return 1
        return int(whole)

    def slots(self) -> int | None:
        value = self.source.get("slots")
        if value is None:
            return None
        whole = read_units(value)
        if whole is None or whole != whole.to_integral_value() or whole > MOST_SLOTS:
            self.problems["slots"] = f"Give a whole number from 0 to {MOST_SLOTS}: how many may be held at once."
            return None
        return int(whole)

    def usage_period(self) -> tuple[Cadence | None, datetime | None]:
        value = self.source.get("usagePeriod")
        if value is None:
            return None, None
        if not isinstance(value, Mapping):
            self.problems["usagePeriod"] = "Give an object with an interval, such as P1M."
            return None, None
        cadence, anchor = None, None
        interval, since = value.get("interval"), value.get("anchor")
        try:
            cadence = Cadence.parse(interval) if isinstance(interval, str) else None
        except ValueError:
            cadence = None
        if cadence is None or cadence.is_once or is_short(cadence):
            self.problems["usagePeriod.interval"] = (
                "Give an ISO 8601 duration of an hour or more, such as P1D or P1M."
            )
            cadence = None
        if since is not None:
            try:
                anchor = parse_instant(since)
            except (ValueError, AttributeError, TypeError, OverflowError):
                self.problems["usagePeriod.anchor"] = "Give an ISO 8601 instant."
        return cadence, anchor


def read_template(source: Mapping[str, Any], *, kind: str) -> Template:
    """Read the template of a feature of a kind: `boolean`, `static` or `metered`.

    Raises:
        TemplateError: naming every bad key.
    """
    reader = _Reader(source)
    if source.get("type") not in (None, kind):
        reader.problems["type"] = f"The feature is {kind}."
    if kind == "metered":
        template = _metered(reader)
    elif kind == "static":
        template = _static(reader)
    else:
        template = Template()
    allowed = {"metered": METERED_KEYS, "static": STATIC_KEYS}.get(kind, {"type"})
    for key in sorted(set(source) - allowed):
        reader.problems[key] = f"A {kind} feature has no such key; it may have {', '.join(sorted(allowed))}."
    if reader.problems:
        raise TemplateError(reader.problems)
    return template


def read_units(value: Any, *, low: Decimal = Decimal(0)) -> Decimal | None:
    """Read a number of units; None when it is none, too large or too fine."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    if not amount.is_finite() or not low <= amount <= LARGEST:
        return None
    exponent = amount.normalize().as_tuple().exponent
    return amount if isinstance(exponent, int) and -exponent <= PLACES else None


def _metered(reader: _Reader) -> Template:
    cadence, anchor = reader.usage_period()
    return Template(
        is_soft=reader.flag("isSoftLimit"),
        amount=reader.units("issueAfterReset") or None,
        priority=reader.priority("issueAfterResetPriority"),
        is_preserving=reader.flag("preserveOverageAtReset"),
        rollover_min=reader.units("resetMinRollover") or Decimal(0),
        rollover_max=reader.units("resetMaxRollover") or Decimal(0),
        cadence=cadence,
        anchor=anchor,
    )


def _static(reader: _Reader) -> Template:
    """Read what a feature is set to; the number of slots is a part of it, for whoever reads the config alone."""
    slots, config = reader.slots(), reader.source.get("config")
    if config is None and slots is not None:
        config = {}
    if not isinstance(config, Mapping):
        reader.problems["config"] = "Give an object: what the feature is set to."
        return Template(config={})
    if not _is_storable(config):
        reader.problems["config"] = f"Give numbers of at most {MOST_DIGITS} digits before and after the point."
        return Template(config={})
    if slots is None:
        return Template(config=dict(config))
    return Template(config={**config, "slots": slots}, slots=slots)


def _is_storable(value: Any) -> bool:
    """Whether a database can hold all numbers of a JSON value, at any depth."""
    if isinstance(value, Mapping):
        return all(_is_storable(inner) for inner in value.values())
    if isinstance(value, list):
        return all(_is_storable(inner) for inner in value)
    if not isinstance(value, int | Decimal):
        return True
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and -exponent <= MOST_DIGITS and number.adjusted() < MOST_DIGITS


def is_short(cadence: Cadence) -> bool:
    """Whether units would be issued so often that nobody could go through their history at each reading."""
    return not cadence.months and not cadence.days and cadence.seconds < SHORTEST_SECONDS
