"""What text may be made of that people read and documents print."""

import re
import unicodedata

# XML, and with it an electronic invoice, has no way to write most of these; of the rest no reader shows any.
UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
BREAKS = "\t\n\r"
# Letters and signs by their category that are as good as a blank: the fillers of Hangul, and Braille without dots.
FILLERS = "\u115f\u1160\u2800\u3164\uffa0"
# Separators, controls, marks that steer, and marks that stand on a letter before them.
UNSEEN = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Mn"})


def find_unwritable(text: str, *, has_lines: bool = False) -> str | None:
    """Name the first character that no document can print, such as U+0007.

    Args:
        has_lines: the text may run over lines, so tabs and line ends are part of it.
    """
    if text.isascii() and text.isprintable():
        return None
    for found in UNWRITABLE.finditer(text):
        if not (has_lines and found[0] in BREAKS):
            return f"U+{ord(found[0]):04X}"
    return None


def shows_something(text: str) -> bool:
    """Whether a reader sees anything of a text; one of joiners and blanks of no width looks like none."""
    return any(unicodedata.category(sign) not in UNSEEN and sign not in FILLERS for sign in text)
