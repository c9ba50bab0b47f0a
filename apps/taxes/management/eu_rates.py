"""The standard VAT rates of the member states of the European Union since 2025, as they are known here.

A starting point, not a service: who uses them keeps them. Regions with rates of their own (the Azores, Madeira, the
Canaries and others) and reduced rates are not in it.
"""

from datetime import date
from decimal import Decimal

AS_OF = date(2025, 8, 1)
SINCE = date(2025, 1, 1)

# Country, percent, and the days between which it holds where these are not "since 2025 until further notice".
_STANDARD: tuple[tuple[str, str, date, date | None], ...] = (
    ("AT", "20", SINCE, None),
    ("BE", "21", SINCE, None),
    ("BG", "20", SINCE, None),
    ("HR", "25", SINCE, None),
    ("CY", "19", SINCE, None),
    ("CZ", "21", SINCE, None),
    ("DK", "25", SINCE, None),
    ("EE", "22", SINCE, date(2025, 7, 1)),
    ("EE", "24", date(2025, 7, 1), None),
    ("FI", "25.5", SINCE, None),
    ("FR", "20", SINCE, None),
    ("DE", "19", SINCE, None),
    ("GR", "24", SINCE, None),
    ("HU", "27", SINCE, None),
    ("IE", "23", SINCE, None),
    ("IT", "22", SINCE, None),
    ("LV", "21", SINCE, None),
    ("LT", "21", SINCE, None),
    ("LU", "17", SINCE, None),
    ("MT", "18", SINCE, None),
    ("NL", "21", SINCE, None),
    ("PL", "23", SINCE, None),
    ("PT", "23", SINCE, None),
    ("RO", "19", SINCE, date(2025, 8, 1)),
    ("RO", "21", date(2025, 8, 1), None),
    ("SK", "23", SINCE, None),
    ("SI", "22", SINCE, None),
    ("ES", "21", SINCE, None),
    ("SE", "25", SINCE, None),
)
STANDARD = [(country, Decimal(percent), start, end) for country, percent, start, end in _STANDARD]
