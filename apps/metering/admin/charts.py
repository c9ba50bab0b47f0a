"""Where lines, bars and cells of a chart lie; the templates only draw them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal
from typing import Any

from apps.kernel.adminsite.display import figure

WIDTH, HEIGHT = 960, 260
LEFT, RIGHT, TOP, FLOOR = 64, 8, 12, 228
X_LABELS, Y_LINES = 10, 4
CELL_WIDTH, CELL_HEIGHT, DAY_LABEL = 34, 18, 76
SHADES = 5
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one layer of the bars: a value a window, None where there is none."""

    name: str
    values: Sequence[Decimal | None]


def time_chart(labels: Sequence[str], series: Sequence[Series], *, unit: str, is_stacked: bool) -> dict[str, Any]:
    """Lay out values over time, as stacked bars or as lines.

    Args:
        labels: one a window.
        series: each as long as `labels`.
        unit: named in the titles.
        is_stacked: bars whose layers add up, instead of lines.
    """
    known = [[value or ZERO for value in one.values] for one in series]
    if is_stacked:
        columns = list(zip(*known, strict=True))
        highs = [sum((v for v in column if v > 0), ZERO) for column in columns]
        lows = [sum((v for v in column if v < 0), ZERO) for column in columns]
    else:
        highs = lows = [value for values in known for value in values]
    step = _nice((max([*highs, ZERO]) - min([*lows, ZERO])) / Y_LINES)
    bottom = -_up(-min([*lows, ZERO]), step)
    top = max(_up(max([*highs, ZERO]), step), bottom + step)
    width = Decimal(WIDTH - LEFT - RIGHT) / max(len(labels), 1)

    def y(value: Decimal) -> Decimal:
        return _px(FLOOR - (value - bottom) / (top - bottom) * (FLOOR - TOP))

    every = max(1, -(-len(labels) // X_LABELS))
    chart = {
        "width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "zero": y(ZERO),
        "grid": [
            {"y": y(bottom + step * n), "label": figure(bottom + step * n)}
            for n in range(int((top - bottom) / step) + 1)
        ],
        "labels": [
            {"x": _px(LEFT + width * n + width / 2), "text": text} for n, text in enumerate(labels) if n % every == 0
        ],
        "bars": [], "lines": [],
    }  # fmt: skip
    if is_stacked:
        chart["bars"] = _bars(labels, series, width, unit, y)
    else:
        chart["lines"] = _lines(labels, series, width, unit, y)
    return chart


def heat_map(days: dict[date, dict[int, list[tuple[str, Decimal | None]]]], *, unit: str) -> dict[str, Any]:
    """Lay out hours by days; the darker, the more.

    Args:
        days: by day and hour of the clock, the readings with their titles; two where clocks repeat the hour.
        unit: named in the titles.
    """
    top = max(
        (v for hours in days.values() for cells in hours.values() for _, v in cells if v is not None), default=ZERO
    )
    rows = []
    for number, (day, hours) in enumerate(sorted(days.items())):
        cells = []
        for hour, readings in sorted(hours.items()):
            width = Decimal(CELL_WIDTH - 2) / len(readings)
            for position, (title, value) in enumerate(readings):
                shade = 0 if value is None or value <= 0 or top <= 0 else int(_up(value / top * SHADES, Decimal(1)))
                cells.append(
                    {
                        "x": _px(DAY_LABEL + hour * CELL_WIDTH + position * width),
                        "width": _px(width),
                        "shade": min(shade, SHADES),
                        "title": f"{title}: {figure(value)} {unit}",
                    }
                )
        y = 20 + number * CELL_HEIGHT
        rows.append({"label": f"{day:%a %d %b}", "y": y, "text_y": y + 12, "cells": cells})
    return {
        "width": DAY_LABEL + 24 * CELL_WIDTH,
        "height": 24 + len(rows) * CELL_HEIGHT,
        "cell_height": CELL_HEIGHT - 2,
        "hours": [
            {"x": DAY_LABEL + hour * CELL_WIDTH + CELL_WIDTH // 2, "text": f"{hour:02d}"} for hour in range(24)
        ],
        "rows": rows,
        "top": figure(top),
    }


def _bars(labels: Sequence[str], series: Sequence[Series], width: Decimal, unit: str, y: Any) -> list[dict[str, Any]]:
    bars = []
    gap = min(width / 5, Decimal(4))
    for n, label in enumerate(labels):
        above = below = ZERO
        for position, one in enumerate(series):
            value = one.values[n]
            if not value:
                continue
            start = above if value > 0 else below
            if value > 0:
                above += value
            else:
                below += value
            upper, lower = y(max(start, start + value)), y(min(start, start + value))
            bars.append(
                {
                    "x": _px(LEFT + width * n + gap / 2),
                    "width": _px(width - gap),
                    "y": upper,
                    "height": max(lower - upper, Decimal("0.5")),
                    "colour": position,
                    "title": f"{label} · {one.name}: {figure(value)} {unit}",
                }
            )
    return bars


def _lines(
    labels: Sequence[str], series: Sequence[Series], width: Decimal, unit: str, y: Any
) -> list[dict[str, Any]]:
    lines = []
    for position, one in enumerate(series):
        points = [
            {
                "x": _px(LEFT + width * n + width / 2),
                "y": y(value),
                "title": f"{label} · {one.name}: {figure(value)} {unit}",
            }
            for n, (label, value) in enumerate(zip(labels, one.values, strict=True))
            if value is not None
        ]
        path = " ".join(f"{point['x']},{point['y']}" for point in points)
        lines.append({"colour": position, "name": one.name, "points": points, "path": path})
    return lines


def _nice(step: Decimal) -> Decimal:
    """Give a round number not below: 1, 2 or 5 times a power of ten."""
    if step <= 0:
        return Decimal(1)
    power = Decimal(1).scaleb(step.adjusted())
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= step)


def _up(value: Decimal, step: Decimal) -> Decimal:
    return (value / step).to_integral_value(rounding=ROUND_CEILING) * step


def _px(value: Decimal | int) -> Decimal:
    return Decimal(value).quantize(Decimal("0.1"))
