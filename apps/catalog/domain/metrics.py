"""Rules of billable metrics."""

import re
from collections.abc import Mapping

from apps.kernel.errors import FieldError, InvalidError

PATH = re.compile(r"\$\.[a-zA-Z0-9_]+(\.[a-zA-Z0-9_]+)*")
NEEDS_VALUE = frozenset({"SUM", "AVG", "MIN", "MAX", "LATEST", "WEIGHTED_SUM"})
RESERVED_DIMENSION = "subject"
MAXIMUM_DIMENSIONS = 20


def check_flat(given: Mapping[str, object]) -> None:
    """Check that a flat metric, whose quantity is chosen, says nothing of events.

    Args:
        given: by the wire's name, what only a metric of usage has.

    Raises:
        InvalidError: something is given; all of it is named.
    """
    message = "A flat metric counts no events: its quantity is chosen. Leave this out."
    errors = [FieldError(name, message, "invalid") for name, value in given.items() if value]
    if errors:
        raise InvalidError("The metric is malformed.", errors=errors)


def check_metric(*, aggregation: str, value_property: str, group_by: Mapping[str, str]) -> str:
    """Check a metric's shape and give the value path to store: COUNT never has one.

    Raises:
        InvalidError: a path is malformed, or missing where the aggregation needs it.
    """
    errors: list[FieldError] = []
    stored = "" if aggregation == "COUNT" else value_property
    if aggregation in NEEDS_VALUE and not stored:
        errors.append(FieldError("valueProperty", f"{aggregation} needs the path of a value.", "required"))
    if stored and not PATH.fullmatch(stored):
        errors.append(FieldError("valueProperty", "Give a path such as $.usage.tokens.", "invalid"))
    if len(group_by) > MAXIMUM_DIMENSIONS:
        errors.append(FieldError("groupBy", f"Use at most {MAXIMUM_DIMENSIONS} dimensions.", "too_many"))
    for name, path in group_by.items():
        if name == RESERVED_DIMENSION or not name or "," in name:
            errors.append(FieldError(f"groupBy.{name}", "This name cannot be used for a dimension.", "invalid"))
        if not PATH.fullmatch(path):
            errors.append(FieldError(f"groupBy.{name}", "Give a path such as $.model.", "invalid"))
    if errors:
        raise InvalidError("The metric is malformed.", errors=errors)
    return stored
