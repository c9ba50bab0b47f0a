"""Pages of an invoice's lines, and what a caller asks of them."""

import base64
import binascii
from typing import Any

from apps.invoicing.api.outputs import lines_of, render_invoice_line
from apps.invoicing.models import Invoice
from apps.kernel.errors import FieldError, InvalidError
from apps.kernel.http.views import Request

LINES_PAGE = 100
LINES_MAXIMUM = 1000


def invoice_lines_page(invoice: Invoice, *, limit: int, token: str | None, expands: set[str]) -> dict[str, Any]:
    """Give one page of an invoice's lines; the token says where the next begins."""
    with_provenance = "lineProvenance" in expands
    offset = _read_token(token)
    lines, revisions = lines_of(invoice)
    page = lines[offset : offset + limit]
    end = offset + len(page)
    return {
        "invoiceId": invoice.public_id,
        "lineItems": [
            render_invoice_line(invoice, line, revisions, with_provenance=with_provenance) for line in page
        ],
        "totalCount": len(lines),
        "nextPageToken": _write_token(end) if end < len(lines) else None,
        **resolved_items(expands),
    }


def resolved_items(expands: set[str]) -> dict[str, Any]:
    """Give the accounting tags of lines when they are asked for: no line has one."""
    return {"items": []} if "items" in expands else {}


def _write_token(offset: int) -> str:
    return base64.urlsafe_b64encode(f"o:{offset}".encode()).decode()


def _read_token(token: str | None) -> int:
    if not token:
        return 0
    try:
        kind, _, offset = base64.urlsafe_b64decode(token.encode()).decode().partition(":")
        if kind == "o" and 0 <= int(offset) < 2**31:
            return int(offset)
    except (binascii.Error, ValueError):
        pass
    raise bad("pageToken", "Use the nextPageToken of the page before.")


def whole_number(request: Request, name: str) -> int:
    """Read how many lines a page is to have, from the query parameter of a name."""
    text = request.query_params.get(name) or str(LINES_PAGE)
    if text.isascii() and text.isdigit() and 1 <= int(text) <= LINES_MAXIMUM:
        return int(text)
    raise bad(name, f"Give a whole number from 1 to {LINES_MAXIMUM}.")


def bad(field: str, message: str) -> InvalidError:
    """Give the refusal of one query parameter."""
    return InvalidError(f"{field}: {message}", errors=[FieldError(field, message, "invalid")])
