"""Which characters documents can show, and by which fonts."""

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typst
from django.conf import settings
from fontTools.ttLib import TTCollection, TTFont

# Packages that hold nothing but fonts; their code is never run.
PACKAGES = ("fontpkg_noto_sans", "justmytype_intl_rtl", "justmytype_intl_cjk")
# The first that has a character shows it. The same Chinese character looks different in each of the last four.
FAMILIES = ("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew")
EASTERN = ("Noto Sans JP", "Noto Sans SC", "Noto Sans TC", "Noto Sans KR")
OWN_EASTERN = {"CN": "Noto Sans SC", "SG": "Noto Sans SC", "TW": "Noto Sans TC", "HK": "Noto Sans TC",
               "MO": "Noto Sans TC", "KR": "Noto Sans KR"}  # fmt: skip
# Noto Sans has all of these, so that most documents need no look into the fonts: Latin, its accents and signs.
PLAIN = frozenset({*map(chr, range(0x20, 0x7F)), *map(chr, range(0xA0, 0x180)), *"–—−€₩₹‘’“”„…•·×→"} - {"\xad"})


class MissingFontsError(Exception):
    """The fonts that documents are set in are not installed."""


def font_folders() -> list[Path]:
    """Give the folders with fonts: those of the packages, then the installation's own."""
    found = [Path(place) for name in PACKAGES if (spec := find_spec(name)) for place in _places(spec)]
    if settings.DOCUMENT_FONTS:
        found.append(Path(settings.DOCUMENT_FONTS))
    return found


def _places(spec: Any) -> list[str]:
    return list(spec.submodule_search_locations or ())


@cache
def fonts() -> typst.Fonts:
    """Give the fonts as the typesetter wants them, looked up once a process.

    Raises:
        MissingFontsError: not even the plain one is there.
    """
    found = typst.Fonts(
        include_system_fonts=False,
        include_embedded_fonts=False,
        font_paths=[str(folder) for folder in font_folders()],
    )
    if FAMILIES[0] not in found.families():
        raise MissingFontsError(f"the font {FAMILIES[0]} is missing")
    return found


def families_for(country: str) -> list[str]:
    """Give the fonts of a document in the order they are asked, as its reader's country writes."""
    known = set(fonts().families())
    first = OWN_EASTERN.get(country)
    eastern = sorted(EASTERN, key=lambda family: family != first) if first else EASTERN
    wanted = [*FAMILIES, *eastern]
    own = sorted(known - set(wanted))
    return [family for family in (*wanted, *own) if family in known]


@cache
def covered() -> frozenset[int]:
    """Give every character that some font has."""
    found: set[int] = set()
    for path in {font.path for font in fonts().fonts() if font.path}:
        kind: Any = TTCollection if path.endswith((".ttc", ".otc")) else TTFont
        with kind(path, lazy=True) as opened:
            for font in getattr(opened, "fonts", [opened]):
                found.update(font.getBestCmap())
    return frozenset(found)


@cache
def advances() -> dict[str, float]:
    """Give the widths of plain characters by the first font, upright and regular, in heights of its letters."""
    [path] = {font.path for font in fonts().fonts() if font.family == FAMILIES[0] and font.style == "normal"}
    with TTFont(path, lazy=True) as opened:
        names: dict[int, str] = opened.getBestCmap()
        widths = opened["hmtx"].metrics
        height = opened["head"].unitsPerEm
        return {sign: widths[names[ord(sign)]][0] / height for sign in PLAIN if ord(sign) in names}


def missing_in(text: str) -> set[str]:
    """Give the characters of a text that no font has."""
    odd = set(text) - PLAIN
    return {sign for sign in odd if ord(sign) not in covered()} if odd else set()
