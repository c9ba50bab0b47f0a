"""XML as nested elements; what is empty is not written."""

import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from xml.etree import ElementTree

from apps.kernel.money import format_decimal, minor_digits

# Characters that XML cannot hold.
UNWRITABLE = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

Content = str | Decimal | date | Sequence["Node | None"]


class Node:
    """An element with text or with elements, and its attributes.

    Args:
        tag: prefix and name.
        content: text or elements.
        attributes: text by name.
    """

    __slots__ = ("attributes", "content", "tag")

    def __init__(self, tag: str, content: Content, **attributes: str) -> None:
        self.tag, self.content, self.attributes = tag, content, attributes

    def build(self, names: Mapping[str, str]) -> ElementTree.Element | None:
        """Give the element, or nothing where neither text nor an element is in it."""
        element = ElementTree.Element(_qualified(self.tag, names), self.attributes)
        if isinstance(self.content, str | Decimal | date):
            element.text = _text(self.content)
            return element if element.text else None
        for node in self.content:
            child = node.build(names) if node is not None else None
            if child is not None:
                element.append(child)
        return element if len(element) else None


def write(root: Node, names: Mapping[str, str]) -> bytes:
    """Write a document.

    Args:
        root: its outermost element.
        names: namespaces by their prefix; the empty one is the default.
    """
    element = root.build(names)
    assert element is not None
    for prefix, address in names.items():
        ElementTree.register_namespace(prefix, address)
    written: bytes = ElementTree.tostring(element, encoding="utf-8", xml_declaration=True)
    return written


def amount(value: Decimal, currency: str) -> str:
    """Write money with the currency's digits."""
    return f"{value:.{minor_digits(currency)}f}"


def _text(value: str | Decimal | date) -> str:
    if isinstance(value, Decimal):
        return format_decimal(value)
    if isinstance(value, date):
        return value.isoformat()
    return UNWRITABLE.sub("", value).strip()


def _qualified(tag: str, names: Mapping[str, str]) -> str:
    prefix, _, name = tag.rpartition(":")
    return f"{{{names[prefix]}}}{name}"
