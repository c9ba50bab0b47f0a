"""How the numbers of documents are written."""

import re
from dataclasses import dataclass

YEARLY, NEVER = "yearly", "never"
PARTS = re.compile(r"(\{[^{}]*\})")
NUMBER = re.compile(r"\{number(?::0([1-9]|1[0-2]))?\}")
PLAIN = re.compile(r"[A-Za-z0-9._-]*")
YEAR_FIELD, NUMBER_FIELD = "{year}", "{number}"
# What the column of numbers holds, and as many digits as a counter may come to.
LONGEST, MOST_DIGITS, YEAR_DIGITS = 40, 10, 4


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """A format such as `INV-{year}-{number:05}`.

    Attributes:
        text: letters, digits, `-`, `_` and `.`, with one `{number}` and at most one `{year}`.
        resets: YEARLY begins anew with each year, NEVER goes on.
    """

    text: str
    resets: str

    @property
    def key(self) -> str:
        """What tells one run of numbers from another: the format, however many digits its numbers have at least."""
        return NUMBER.sub(NUMBER_FIELD, self.text)

    @property
    def shape(self) -> str:
        """The format with every run of digits as one sign: of two whose shapes differ no numbers are the same."""
        return re.sub("#+", "#", re.sub(r"[0-9]", "#", PARTS.sub("#", self.text)))

    def write(self, year: int, number: int) -> str:
        """Give a number as it stands on a document."""
        found = NUMBER.search(self.text)
        assert found is not None
        digits = f"{number:0{found[1] or 1}d}"
        return self.text.replace(found[0], digits).replace(YEAR_FIELD, f"{year:04d}")


def format_problem(text: str, resets: str) -> str | None:
    """Say what is wrong with a format; None where nothing is."""
    fields = PARTS.findall(text)
    numbers = [field for field in fields if NUMBER.fullmatch(field)]
    years = [field for field in fields if field == YEAR_FIELD]
    other = [field for field in fields if field not in numbers and field != YEAR_FIELD]
    if other:
        return f"{other[0]} is not known; use {{year}}, {{number}}, or {{number:05}} for at least 5 digits."
    if not PLAIN.fullmatch(PARTS.sub("", text)):
        return "Use letters, digits, hyphens, underscores and dots beside {year} and {number}."
    if len(numbers) != 1:
        return "Name {number} once, or {number:05} for at least 5 digits; without it all numbers were the same."
    if len(years) > 1:
        return "Name {year} once."
    if resets == YEARLY and not years:
        return "Name {year}: numbers that begin anew each year repeat without it."
    found = NUMBER.fullmatch(numbers[0])
    assert found is not None
    longest = len(PARTS.sub("", text)) + YEAR_DIGITS * len(years) + max(int(found[1] or 1), MOST_DIGITS)
    if longest > LONGEST:
        return f"Make it shorter: numbers would come to {longest} characters, and {LONGEST} fit."
    return None
