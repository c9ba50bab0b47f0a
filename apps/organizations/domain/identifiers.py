"""Tax ids and bank accounts, checked offline: their form and their check digits, not whether they are registered."""

import re

from stdnum import bic, get_cc_module, iban
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


def tax_id_country(text: str, country: str) -> str:
    """Give the country whose tax id this is, or nothing.

    It is that of the letters before it, else the one that is given where the id is one of that country.
    """
    number = compact(text)
    prefix = {"EL": "GR", "XI": "GB"}.get(number[:2], number[:2])
    if number[:2] in EUROPEAN | {"GB", "CH", "NO"} and vat_id_problem(number) is None:
        return prefix
    return country if country and tax_id_problem(country, number) is None else ""


def tax_id_problem(country: str, text: str) -> str | None:
    """Say what is wrong with a tax id of a country, or nothing.

    Countries without a rule of their own have their ids checked by form alone.

    Args:
        country: two letters.
        text: with or without the country's letters before it.
    """
    number = compact(text)
    letters = "EL" if country == "GR" else country
    if letters in EUROPEAN | {"GB", "CH", "NO"}:
        return vat_id_problem(number if number[:2] in (letters, "XI") else letters + number)
    rules = get_cc_module(country.lower(), "vat")
    bare = number.removeprefix(country)
    if rules is None:
        is_known = bool(re.fullmatch(r"[A-Z0-9]{2,20}", bare))
    else:
        is_known = rules.is_valid(number) or rules.is_valid(bare)
    return None if is_known else f"{number} is not a tax id of {country}: its form or its check digit is wrong."


def full_vat_id(text: str, country: str) -> str:
    """Give an id with its country's letters where it is a VAT id of a country with a rule, else as it is."""
    number = compact(text)
    letters = "EL" if country == "GR" else country
    is_ruled = letters in EUROPEAN | {"GB", "CH", "NO"}
    if is_ruled and vat_id_problem(number) is not None and vat_id_problem(letters + number) is None:
        return letters + number
    return number
