"""What can be known of a document's table before it is set.

Left to itself the typesetter sets every cell once to see how wide its column must be, once more to see how high its
row is, and then for good. In a document of ten thousand lines that is most of the work.
"""

import re
from collections.abc import Iterable
from typing import Any

from apps.documents.services.fonts import advances

FIGURES = ("quantity", "unit_price", "tax", "amount")
# All digits are equally wide, and nothing moves closer to one than to another.
DIGIT = re.compile("[0-9]")
# Some pairs of characters stand wider apart than each by itself.
APART = 1.05


def measured(layout: dict[str, Any]) -> dict[str, Any]:
    """Give a layout with what its table needs to be told.

    Added are `widest`, texts among which the widest of each column of figures is, and for each line `ems`, an upper
    bound of the width of its texts in heights of its letters; None where they must be set to see it.
    """
    lines = layout["lines"]
    return {
        **layout,
        "widest": [_widest(line[name] for line in lines) for name in FIGURES],
        "lines": [{**line, "ems": _ems(line)} for line in lines],
    }


def _widest(texts: Iterable[str]) -> list[str]:
    """Give one text for all that differ in their digits alone."""
    return sorted({DIGIT.sub("0", text) for text in set(texts)})


def _ems(line: dict[str, Any]) -> float | None:
    if line["mark"]:
        return None
    known = advances()
    try:
        widest = max(sum(known[sign] for sign in text) for text in (line["name"], *line["more"]))
    except KeyError:
        return None
    return round(widest * APART, 2)
