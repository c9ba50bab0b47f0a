"""From texts to a PDF/A-3, by typst, in this process."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import typst
from django.conf import settings

from apps.documents.services.fonts import families_for, font_folders, fonts, missing_in
from apps.documents.services.measuring import measured

TEMPLATE = Path(__file__).resolve().parent.parent / "typst" / "invoice.typ"
APART = Path(__file__).resolve().parent / "setting.py"
# Documents with more lines are set apart; starting a process is nothing beside what they take.
LONG, LONGEST_SECONDS = 1_000, 300
UNSHOWN = "Characters that no font here has are written as their Unicode numbers."
# Marks that only steer how their neighbours look; without them a text reads the same. The joiners U+200C and U+200D
# are none of them: without them words of Persian and of India's scripts are spelt wrong.
STEERING = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
    "\U000e0020-\U000e007f\U000e0100-\U000e01ef]"
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]+")

# A compiler holds what it worked out of the template; one each, because threads must not share it.
_local = threading.local()


@cache
def template() -> bytes:
    """Give the template, read once a process."""
    return TEMPLATE.read_bytes()


def typeset(layout: dict[str, Any], *, country: str, at: datetime, images: Mapping[str, bytes]) -> bytes:
    """Set a document: the same texts, moment and pictures always give the same bytes.

    Args:
        layout: texts by the names that the template uses.
        country: of the reader; decides the shape of Chinese characters.
        at: the moment that the document names as its own.
        images: pictures by the paths that the layout names.
    """
    for name, content in images.items():
        path = _folder() / name.lstrip("/")
        if not path.exists():
            # Another process may read it at any moment, so it appears whole.
            fresh = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            fresh.write_bytes(content)
            fresh.replace(path)
    texts = showable({**layout, "fonts": families_for(country)})
    data = json.dumps(measured(texts), ensure_ascii=False)
    moment = int(at.timestamp())
    if len(layout["lines"]) > LONG:
        return _set_apart(data, moment)
    made = _compiler().compile(
        template(),
        sys_inputs={"data": data},
        format="pdf",
        pdf_standards=["a-3b"],
        # Level B of the standard does without tags of structure.
        pdf_tags=False,
        timestamp=moment,
    )
    assert isinstance(made, bytes)
    return made


def _set_apart(data: str, moment: int) -> bytes:
    """Set a long document in a process of its own, so that its memory is given back."""
    job = {
        "template": template().decode(),
        "data": data,
        "at": moment,
        "root": str(_folder()),
        "fonts": [str(folder) for folder in font_folders()],
    }
    done = subprocess.run(
        [sys.executable, "-I", str(APART)],
        input=json.dumps(job).encode(),
        capture_output=True,
        timeout=LONGEST_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"A long document could not be set: {done.stderr.decode(errors='replace')[-2000:]}")
    return done.stdout


def try_image(content: bytes, kind: str) -> None:
    """Set a page with a picture, to see whether documents can show it.

    Raises:
        typst.TypstError: they cannot.
    """
    name = f"try-{os.getpid()}-{threading.get_ident()}.{kind}"
    path = _folder() / name
    path.write_bytes(content)
    try:
        _compiler().compile(
            f'#set document(date: auto)\n#image("/{name}", height: 16mm)'.encode(),
            format="pdf",
            pdf_standards=["a-3b"],
            pdf_tags=False,
            timestamp=0,
        )
    finally:
        path.unlink()


def showable(layout: dict[str, Any]) -> dict[str, Any]:
    """Give a layout in characters that can be shown; of others their numbers are written, and a note says so."""
    missing: set[str] = set()
    found: dict[str, Any] = _cleaned(layout, missing)
    if missing:
        found["notes"] = [*found.get("notes", []), UNSHOWN]
    return found


def _cleaned(value: Any, missing: set[str]) -> Any:
    if isinstance(value, str):
        if value.isascii() and value.isprintable():
            return value
        text = CONTROL.sub(" ", STEERING.sub("", value))
        unknown = missing_in(text)
        if unknown:
            missing |= unknown
            text = "".join(f"[U+{ord(sign):04X}]" if sign in unknown else sign for sign in text)
        return text
    if isinstance(value, dict):
        return {name: _cleaned(inner, missing) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(inner, missing) for inner in value]
    return value


def _compiler() -> typst.Compiler:
    if not hasattr(_local, "compiler"):
        _local.compiler = typst.Compiler(root=_folder(), font_paths=fonts(), ignore_system_fonts=True)
    made: typst.Compiler = _local.compiler
    return made


def _folder() -> Path:
    """Give the folder where the typesetter finds pictures; they are named by what they are and never change."""
    folder: Path = settings.VAR_DIR / "documents"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
