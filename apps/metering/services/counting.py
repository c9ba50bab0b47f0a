"""What an event counts for: its quantity for each metric of its type, and the group it falls into."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apps.metering.domain.drafts import Target, Targets
from apps.metering.domain.paths import SMALL, group_value, quantity_text, value_at
from apps.metering.selectors.registry import MetricShape
from apps.metering.services.interning import digest_of

# Combinations of group values remembered for a type; more than that and they are made anew.
REMEMBERED = 20_000

Counted = tuple[Targets, str, str | None, tuple[tuple[str, str], ...]]


class Counter:
    """Counts events of one type; made once for the metrics of the type and kept between calls.

    Args:
        shapes: the metrics that count the type.
    """

    def __init__(self, shapes: Sequence[MetricShape]) -> None:
        self.shapes = shapes
        # A value most often stands right in the data: a plain look-up, where a longer path takes a walk.
        self._readers = [(shape, shape.value_steps[0] if len(shape.value_steps) == 1 else None) for shape in shapes]
        steps = list(dict.fromkeys(steps for shape in shapes for steps in shape.group_steps))
        self._dimensions = [(path[0] if len(path) == 1 else None, path) for path in steps]
        self._places = [[steps.index(path) for path in shape.group_steps] for shape in shapes]
        self._starts = any(shape.event_from is not None for shape in shapes)
        self._remembered: dict[tuple[tuple[int, ...] | None, tuple[str, ...]], Targets] = {}

    def count(self, data: dict[str, Any], *, occurred_at: datetime, key: str) -> Counted:
        """Give targets, quantities, hashes and the metrics that cannot use the event, as a draft holds them.

        Args:
            data: decoded, its fractions as Decimal.
            occurred_at: UTC instant; a metric ignores events before its `event_from`.
            key: the idempotency key, which a metric of distinct events counts.
        """
        values = []
        for name, steps in self._dimensions:
            raw = data.get(name) if name is not None else value_at(data, steps)
            values.append(raw if type(raw) is str and len(raw) < 256 else group_value(raw))
        quantities: list[str] = []
        hashes: list[str] | None = None
        ignored: list[tuple[str, str]] | None = None
        counted: list[int] | None = None
        for place, (shape, name) in enumerate(self._readers):
            if self._starts and shape.event_from is not None and occurred_at < shape.event_from:
                counted = list(range(place)) if counted is None else counted
                continue
            if shape.aggregation == "COUNT":
                quantity: str | None = "1"
            elif shape.aggregation == "UNIQUE_COUNT":
                raw = value_at(data, shape.value_steps) if shape.value_steps else key
                quantity = None if raw is None or isinstance(raw, dict | list) else "1"
                if quantity is not None:
                    hashes = ["NULL"] * len(quantities) if hashes is None else hashes
                    hashes.append(digest_of(group_value(raw)).hex)
            else:
                raw = data.get(name) if name is not None else value_at(data, shape.value_steps)
                quantity = str(raw) if type(raw) is int and -SMALL < raw < SMALL else quantity_text(raw)
            if quantity is None:
                ignored = [] if ignored is None else ignored
                ignored.append((shape.public_id, _reason(shape)))
                counted = list(range(place)) if counted is None else counted
                continue
            quantities.append(quantity)
            if hashes is not None and len(hashes) < len(quantities):
                hashes.append("NULL")
            if counted is not None:
                counted.append(place)
        return (
            self._targets(None if counted is None else tuple(counted), tuple(values)),
            ",".join(quantities),
            None if hashes is None else ",".join(hashes),
            () if ignored is None else tuple(ignored),
        )

    def _targets(self, counted: tuple[int, ...] | None, values: tuple[str, ...]) -> Targets:
        found = self._remembered.get((counted, values))
        if found is None:
            pairs: list[Target] = []
            for place in range(len(self.shapes)) if counted is None else counted:
                shape = self.shapes[place]
                group = (shape.group_names, tuple([values[n] for n in self._places[place]]))
                pairs.append((shape.id, group if shape.group_names else None))
            found = Targets(tuple(pairs))
            if len(self._remembered) >= REMEMBERED:
                self._remembered.clear()
            self._remembered[counted, values] = found
        return found


def _reason(shape: MetricShape) -> str:
    if shape.aggregation == "UNIQUE_COUNT":
        return f"There is no plain value at {shape.value_path}."
    return f"The value at {shape.value_path} is not a number with at most 9 decimal places."
