"""Tax ids and bank accounts, checked offline: their form and their check digits, not whether they are registered."""

import re

from stdnum import bic, iban
from stdnum.ch import vat as swiss
from stdnum.eu import vat as european
from stdnum.gb import vat as british
from stdnum.no import mva as norwegian

from apps.organizations.domain.countries import COUNTRIES

# The European Union writes Greece as EL, and Northern Ireland has a prefix of its own.
EUROPEAN = {*(code.upper() for code in european.MEMBER_STATES), "EL", "XI"} - {"GR"}
SHAPE = re.compile(r"[A-Z]{2}[A-Z0-9]{2,18}")


def compact(text: str) -> str:
    """Give an id without the blanks, dots and dashes that people write into it."""
    return re.sub(r"[\s.\-]", "", text).upper()


def vat_id_problem(text: str) -> str | None:
    """Say what is wrong with a VAT id, or nothing; the ids of most of the world are checked by their form alone."""
    number = compact(text)
    if not SHAPE.fullmatch(number) or number[:2] not in COUNTRIES | EUROPEAN:
        return "Begin with the country's two letters, such as DE136695976."
    if number[:2] in EUROPEAN:
        # XI is not known to every rule book; its numbers are British ones.
        known = british.is_valid(number[2:]) if number[:2] == "XI" else european.is_valid(number)
    else:
        rules = {"GB": british.is_valid, "CH": swiss.is_valid}
        known = rules[number[:2]](number) if number[:2] in rules else True
        if number[:2] == "NO":
            known = norwegian.is_valid(number.removeprefix("NO"))
    return None if known else f"{number} is not a VAT id of {number[:2]}: its form or its check digit is wrong."


def iban_problem(text: str) -> str | None:
    """Say what is wrong with an account number, or nothing."""
    return None if iban.is_valid(compact(text)) else "This is not an IBAN: its length or its check digits are wrong."


def bic_problem(text: str) -> str | None:
    """Say what is wrong with a bank's code, or nothing."""
    return None if bic.is_valid(compact(text)) else "Give the 8 or 11 characters of the bank's code."
