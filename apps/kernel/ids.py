import hashlib
import secrets
import string

BASE_62 = string.digits + string.ascii_letters
LENGTH = 20
# The published patterns of these kinds ask for another form.
TEST_CLOCK_LENGTH = 16


def new_id(prefix: str) -> str:
    """Make a public id: the prefix and 20 random characters (119 bits).

    Invoices use lowercase hex digits and test clocks 16 characters, as their published patterns ask.
    """
    if prefix == "inv":
        return f"inv_{secrets.token_hex(12)}"
    length = TEST_CLOCK_LENGTH if prefix == "tc" else LENGTH
    return f"{prefix}_{_digits(secrets.randbelow(62**length), length)}"


def derived_id(prefix: str, *parts: str) -> str:
    """Give the id of something that is computed, not stored: the same for the same parts, in the form of `new_id`."""
    number = int.from_bytes(hashlib.blake2b("\x00".join(parts).encode(), digest_size=16).digest(), "big")
    return f"{prefix}_{_digits(number, LENGTH)}"


def _digits(number: int, length: int) -> str:
    """Give the lowest digits of a number, the lowest first."""
    digits = ""
    # Three at a time.
    for _ in range(length // 3):
        number, rest = divmod(number, 62**3)
        digits += _THREE[rest]
    return digits + _THREE[number % 62**3][: length % 3]


_THREE = [a + b + c for c in BASE_62 for b in BASE_62 for a in BASE_62]
