"""Documents: one-page PDFs a second on both cores, a document of 10,000 lines, e-invoices a second."""

import argparse
import multiprocessing
import os
import resource
import time
from dataclasses import replace
from typing import Any

PAGES, LINES, XMLS = 1_000, 10_000, 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, default=PAGES, help="one-page documents to set in each process")
    parser.add_argument("--lines", type=int, default=LINES, help="lines of the long document")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, print and give the figures. Needs neither database nor broker."""
    context = multiprocessing.get_context("spawn")
    cores = os.cpu_count() or 1
    with context.Pool(cores) as pool:
        pool.map(_warm_up, range(cores), chunksize=1)
        began = time.perf_counter()
        sizes = pool.map(_pages, [arguments.pages] * cores, chunksize=1)
        rate = sum(count for count, _ in sizes) / (time.perf_counter() - began)
    with context.Pool(1) as pool:
        alone = pool.apply(_alone, (arguments.pages, False))
    with context.Pool(1) as pool:
        explained = pool.apply(_alone, (arguments.pages, True))
    with context.Pool(1) as pool:
        seconds, size, memory = pool.apply(_long, (arguments.lines,))
    with context.Pool(1) as pool:
        written = pool.apply(_einvoices, (XMLS,))
    figures = {
        "one-page PDFs/s, all cores": round(rate, 1),
        "one-page PDFs/s, one core": round(alone, 1),
        "two pages, with the calculation/s, one core": round(explained, 1),
        "bytes of a one-page PDF": sizes[0][1],
        f"PDF of {arguments.lines} lines, s": round(seconds, 2),
        f"PDF of {arguments.lines} lines, bytes": size,
        f"PDF of {arguments.lines} lines, MB of memory": memory,
        **written,
    }
    for name, value in figures.items():
        print(f"{name:44} {value:>12,}")
    return figures


def _set_up() -> None:
    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()


def _page(number: int, lines: int = 3, *, with_steps: bool = False) -> bytes:
    from apps.documents.domain.layout import layout_of
    from apps.documents.services.sample import ISSUED, sample_paper
    from apps.documents.services.typesetting import typeset

    paper = sample_paper(lines=lines)
    kept = paper.lines if with_steps else [replace(line, steps=[]) for line in paper.lines]
    # Every document differs, as real ones do; the typesetter remembers what it has seen.
    paper = replace(
        paper, number=f"INV-{number:06}", buyer=replace(paper.buyer, name=f"Customer {number}"), lines=kept
    )
    return typeset(layout_of(paper, logo_path=""), country="FR", at=ISSUED, images={})


def _warm_up(_: int) -> None:
    _set_up()
    for number in range(20):
        _page(number)


def _pages(count: int, with_steps: bool = False) -> tuple[int, int]:
    first = os.getpid() * 10_000
    size = 0
    for number in range(count):
        size = len(_page(first + number, with_steps=with_steps))
    return count, size


def _alone(count: int, with_steps: bool) -> float:
    _warm_up(0)
    began = time.perf_counter()
    _pages(count, with_steps)
    return count / (time.perf_counter() - began)


def _long(lines: int) -> tuple[float, int, int]:
    _set_up()
    began = time.perf_counter()
    made = _page(1, lines, with_steps=True)
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return time.perf_counter() - began, len(made), largest // 1024


def _einvoices(count: int) -> dict[str, Any]:
    _set_up()
    from apps.documents.domain.cii import write_cii
    from apps.documents.domain.einvoice import EInvoice, einvoice_of
    from apps.documents.domain.ubl import write_ubl
    from apps.documents.services.einvoices import make_facturx
    from apps.documents.services.sample import sample_paper

    paper = sample_paper()
    paper = replace(
        paper, seller=replace(paper.seller, tax_id="DE136695976"), buyer=replace(paper.buyer, zero_tax_reason="Z")
    )
    invoice = einvoice_of(paper)
    assert isinstance(invoice, EInvoice)
    found = {}
    for name, make in (("CII", write_cii), ("UBL", write_ubl)):
        began = time.perf_counter()
        for _ in range(count):
            make(invoice)
        found[f"{name} documents/s, one core"] = round(count / (time.perf_counter() - began), 1)
    began = time.perf_counter()
    for _ in range(count // 5):
        make_facturx(paper, 0)
    found["Factur-X documents/s, one core"] = round(count // 5 / (time.perf_counter() - began), 1)
    return found
