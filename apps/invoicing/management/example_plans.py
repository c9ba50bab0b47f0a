"""What `docs/examples.md` sells, as data: the same products, plans, customers and usage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

Event = tuple[str, str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Counted:
    """A metric: what it counts of which events."""

    name: str
    unit: str
    event_type: str
    path: str = ""
    aggregation: str = "SUM"
    dimension: str = ""


@dataclass(frozen=True, slots=True)
class Term:
    """A price of a metric, by its name, or of a fee with the price's own name."""

    name: str
    properties: Mapping[str, Any]
    metric: str = ""
    model: str = "standard"
    quantity: int = 1
    feature: str = ""


@dataclass(frozen=True, slots=True)
class Sold:
    """A plan, the customer that took it, what it used, and what is agreed with it beside the prices."""

    plan: str
    customer: str
    terms: Sequence[Term]
    events: Sequence[Event]
    off: Decimal | None = None
    at_least: Decimal | None = None
    is_for_a_year: bool = False
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A product with its metrics and plans."""

    product: str
    description: str
    metrics: Sequence[Counted]
    sold: Sequence[Sold]
    features: Mapping[str, str] = field(default_factory=dict)


def _tiers(*tiers: tuple[str | None, str]) -> dict[str, Any]:
    return {"tiers": [{"upTo": up_to, "unitPrice": price} for up_to, price in tiers]}


def _by(dimension: str, default: str, **prices: str) -> dict[str, Any]:
    groups = [{"match": {dimension: value}, "properties": {"unitPrice": price}} for value, price in prices.items()]
    return {"unitPrice": default, "groups": groups}


STORAGE = Term("Storage", {"unitPrice": "0.023"}, "Storage")
SHELVES = (
    Shelf(
        "Neural Language Engine",
        "Text generation by the token.",
        [
            Counted("Tokens", "tokens", "llm.call", "$.tokens", dimension="kind"),
            Counted("Fine-tuning", "hours", "llm.tuning", "$.hours"),
        ],
        [
            Sold(
                "Developer",
                "Tin Robot Club",
                [
                    Term(
                        "Tokens",
                        {**_by("kind", "0.000002", input="0.000002", output="0.000006"), "sharedFreeUnits": "10000"},
                        "Tokens",
                    )
                ],
                [
                    ("10T09:20:00", "llm.call", {"kind": "input", "tokens": 4_000_000}),
                    ("10T09:21:00", "llm.call", {"kind": "output", "tokens": 1_500_000}),
                ],
            ),
            Sold(
                "Business",
                "Harrow Legal",
                [
                    Term("Tokens", _by("kind", "0.000001", output="0.000003"), "Tokens", feature="priority-queue"),
                    Term("Fine-tuning", {"unitPrice": "3"}, "Fine-tuning"),
                ],
                [
                    ("10T09:20:00", "llm.call", {"kind": "input", "tokens": 4_000_000}),
                    ("10T09:21:00", "llm.call", {"kind": "output", "tokens": 1_500_000}),
                    ("12T14:00:00", "llm.tuning", {"hours": Decimal("12.5")}),
                ],
            ),
            Sold(
                "Enterprise",
                "Meridian Bank",
                [Term("Tokens", _by("kind", "0.0000008", output="0.0000024"), "Tokens")],
                [
                    ("10T09:20:00", "llm.call", {"kind": "input", "tokens": 400_000_000}),
                    ("10T09:21:00", "llm.call", {"kind": "output", "tokens": 150_000_000}),
                ],
                off=Decimal("0.2"),
                is_for_a_year=True,
            ),
        ],
        {"priority-queue": "Priority queue access"},
    ),
    Shelf(
        "Cloud Analytics",
        "A data warehouse.",
        [
            Counted("Query compute", "seconds", "warehouse.query", "$.seconds"),
            Counted("Storage", "GB-months", "warehouse.storage", "$.gb", "WEIGHTED_SUM"),
            Counted("Data egress", "GB", "warehouse.egress", "$.gb"),
            Counted("Concurrent connections", "connections", "warehouse.connections", "$.open", "MAX"),
        ],
        [
            Sold(
                "On demand",
                "Orchard Retail",
                [
                    Term("Query compute", {"unitPrice": "0.0005"}, "Query compute"),
                    STORAGE,
                    Term(
                        "Data egress",
                        _tiers(("100", "0"), ("10000", "0.09"), (None, "0.07")),
                        "Data egress",
                        "graduated",
                    ),
                    Term("Connections", _tiers(("10", "0"), (None, "5")), "Concurrent connections", "graduated"),
                ],
                [
                    ("01T00:00:00", "warehouse.storage", {"gb": 500}),
                    ("17T00:00:00", "warehouse.storage", {"gb": 300}),
                    ("20T11:30:00", "warehouse.query", {"seconds": 1_200_000}),
                    ("20T11:40:00", "warehouse.egress", {"gb": 350}),
                    ("21T08:00:00", "warehouse.connections", {"open": 14}),
                    ("22T08:00:00", "warehouse.connections", {"open": 9}),
                ],
            ),
            Sold(
                "Reserved",
                "Kestrel Logistics",
                [
                    Term("Reserved compute", {"unitPrice": "300"}),
                    Term("Query compute", _tiers(("1000000", "0"), (None, "0.0005")), "Query compute", "graduated"),
                    STORAGE,
                ],
                [
                    ("01T00:00:00", "warehouse.storage", {"gb": 500}),
                    ("20T11:30:00", "warehouse.query", {"seconds": 1_200_000}),
                ],
            ),
            Sold(
                "Annual commitment",
                "Northern Grid",
                [Term("Query compute", {"unitPrice": "0.0004"}, "Query compute"), STORAGE],
                [("20T11:30:00", "warehouse.query", {"seconds": 1_200_000})],
                at_least=Decimal(1_500_000),
                is_for_a_year=True,
            ),
        ],
    ),
    Shelf(
        "Clip Works",
        "Video processing and delivery.",
        [
            Counted("Minutes processed", "minutes", "video.transcode", "$.minutes", dimension="quality"),
            Counted("Transcoding jobs", "jobs", "video.transcode", aggregation="COUNT"),
            Counted("Bandwidth", "GB", "video.delivery", "$.gb"),
        ],
        [
            Sold(
                "Studio",
                "Filmhaus Lyon",
                [
                    Term("Minutes", _by("quality", "0.01", **{"HD": "0.02", "4K": "0.05"}), "Minutes processed"),
                    Term("Jobs", {"packageSize": "2", "packagePrice": "0.50"}, "Transcoding jobs", "package"),
                    Term("Bandwidth", _tiers(("1000", "0.08"), (None, "0.05")), "Bandwidth", "volume"),
                ],
                [
                    ("05T10:00:00", "video.transcode", {"quality": "SD", "minutes": 1000}),
                    ("06T10:00:00", "video.transcode", {"quality": "HD", "minutes": 300}),
                    ("07T10:00:00", "video.transcode", {"quality": "HD", "minutes": 200}),
                    ("08T10:00:00", "video.transcode", {"quality": "4K", "minutes": 120}),
                    ("09T10:00:00", "video.transcode", {"quality": "4K", "minutes": 80}),
                    ("15T10:00:00", "video.delivery", {"gb": 1500}),
                ],
                currency="EUR",
            )
        ],
    ),
    Shelf(
        "Shipyard",
        "Builds and deployments.",
        [
            Counted("Build minutes", "minutes", "build.done", "$.minutes"),
            Counted("Bandwidth", "GB", "build.traffic", "$.gb"),
            Counted("Concurrent builds", "builds", "build.running", "$.builds", "MAX"),
        ],
        [
            Sold(
                "Team",
                "Fernway Apps",
                [
                    Term("Deployment slots", {"unitPrice": "10"}, quantity=5),
                    Term("Build minutes", _tiers(("1000", "0"), (None, "0.008")), "Build minutes", "graduated"),
                    Term("Bandwidth", _tiers(("100", "0"), (None, "0.15")), "Bandwidth", "graduated"),
                    Term("Concurrent builds", _tiers(("2", "0"), (None, "15")), "Concurrent builds", "graduated"),
                ],
                [
                    ("05T10:00:00", "build.done", {"minutes": Decimal("2100.5")}),
                    ("15T10:00:00", "build.done", {"minutes": Decimal("1399.5")}),
                    ("15T10:00:00", "build.traffic", {"gb": 160}),
                    ("16T10:00:00", "build.running", {"builds": 6}),
                    ("17T10:00:00", "build.running", {"builds": 3}),
                ],
            )
        ],
    ),
    Shelf(
        "Model Garden",
        "Many models over one API.",
        [Counted("Tokens", "tokens", "garden.call", "$.tokens", dimension="model")],
        [
            Sold(
                "Models",
                "Quill & Co",
                [
                    Term(
                        "Tokens",
                        {
                            "groupTiers": "own",
                            "groupBy": ["model"],
                            **_tiers(("100000", "0"), (None, "0.000002")),
                            "groups": [
                                {
                                    "match": {"model": "atlas-large"},
                                    "properties": _tiers(("1000000", "0.00001"), (None, "0.000008")),
                                }
                            ],
                        },
                        "Tokens",
                        "graduated",
                    )
                ],
                [
                    ("05T10:00:00", "garden.call", {"model": "atlas-large", "tokens": 1_500_000}),
                    ("06T10:00:00", "garden.call", {"model": "atlas-small", "tokens": 600_000}),
                    ("07T10:00:00", "garden.call", {"model": "atlas-mini", "tokens": 80_000}),
                ],
            )
        ],
    ),
)
