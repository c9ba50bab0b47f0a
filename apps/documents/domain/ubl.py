"""An e-invoice in the syntax of OASIS: UBL 2.1."""

from datetime import date
from decimal import Decimal

from apps.documents.domain.einvoice import ONE, SPECIFICATION, EInvoice, ELine, ETax
from apps.documents.domain.parties import Party
from apps.documents.domain.xml import Node, amount, write

INVOICE = "urn:oasis:names:specification:ubl:schema:xsd:Invoice-2"
CREDIT = "urn:oasis:names:specification:ubl:schema:xsd:CreditNote-2"
NAMES = {
    "cac": "urn:oasis:names:specification:ubl:schema:xsd:CommonAggregateComponents-2",
    "cbc": "urn:oasis:names:specification:ubl:schema:xsd:CommonBasicComponents-2",
}


def write_ubl(invoice: EInvoice) -> bytes:
    """Write an e-invoice as UBL; a credit note is a document of its own kind there."""
    currency = invoice.currency
    kind = "CreditNote" if invoice.corrects else "Invoice"
    root = Node(
        kind,
        [
            Node("cbc:CustomizationID", SPECIFICATION),
            Node("cbc:ID", invoice.number),
            Node("cbc:IssueDate", invoice.issued_on),
            Node("cbc:DueDate", invoice.due_on) if invoice.due_on is not None else None,
            Node(f"cbc:{kind}TypeCode", invoice.type_code),
            Node("cbc:Note", invoice.note),
            Node("cbc:DocumentCurrencyCode", currency),
            Node("cbc:BuyerReference", invoice.buyer.reference),
            _period(invoice.start, invoice.end),
            _corrected(invoice),
            Node("cac:AccountingSupplierParty", [_party(invoice.seller, invoice.seller_vat_id, is_seller=True)]),
            Node("cac:AccountingCustomerParty", [_party(invoice.buyer, invoice.buyer_vat_id, is_seller=False)]),
            Node("cac:Delivery", [Node("cbc:ActualDeliveryDate", invoice.end), _delivery_place(invoice.deliver_to)]),
            _payment_means(invoice),
            Node("cac:PaymentTerms", [Node("cbc:Note", invoice.terms)]),
            Node(
                "cac:TaxTotal",
                [_money("cbc:TaxAmount", invoice.tax, currency), *(_tax(tax, currency) for tax in invoice.taxes)],
            ),
            Node(
                "cac:LegalMonetaryTotal",
                [
                    _money("cbc:LineExtensionAmount", invoice.net, currency),
                    _money("cbc:TaxExclusiveAmount", invoice.net, currency),
                    _money("cbc:TaxInclusiveAmount", invoice.total, currency),
                    _money("cbc:PrepaidAmount", invoice.prepaid, currency) if invoice.prepaid else None,
                    _money("cbc:PayableAmount", invoice.due, currency),
                ],
            ),
            *(_line(line, currency, kind) for line in invoice.lines),
        ],
    )
    return write(root, {"": CREDIT if invoice.corrects else INVOICE, **NAMES})


def _corrected(invoice: EInvoice) -> Node | None:
    if not invoice.corrects or invoice.corrects_on is None:
        return None
    document = [Node("cbc:ID", invoice.corrects), Node("cbc:IssueDate", invoice.corrects_on)]
    return Node("cac:BillingReference", [Node("cac:InvoiceDocumentReference", document)])


def _money(tag: str, value: Decimal, currency: str) -> Node:
    return Node(tag, amount(value, currency), currencyID=currency)


def _period(start: date, end: date) -> Node:
    return Node("cac:InvoicePeriod", [Node("cbc:StartDate", start), Node("cbc:EndDate", end)])


def _delivery_place(country: str) -> Node | None:
    if not country:
        return None
    place = Node("cac:Address", [Node("cac:Country", [Node("cbc:IdentificationCode", country)])])
    return Node("cac:DeliveryLocation", [place])


def _scheme() -> Node:
    return Node("cac:TaxScheme", [Node("cbc:ID", "VAT")])


def _party(party: Party, vat_id: str, *, is_seller: bool) -> Node:
    contact = Node(
        "cac:Contact",
        [
            Node("cbc:Name", party.name),
            Node("cbc:Telephone", party.phone),
            Node("cbc:ElectronicMail", party.email),
        ],
    )
    return Node(
        "cac:Party",
        [
            Node("cbc:EndpointID", party.email, schemeID="EM"),
            Node(
                "cac:PostalAddress",
                [
                    Node("cbc:StreetName", party.line1),
                    Node("cbc:AdditionalStreetName", party.line2),
                    Node("cbc:CityName", party.city),
                    Node("cbc:PostalZone", party.zip_code),
                    Node("cbc:CountrySubentity", party.state),
                    Node("cac:Country", [Node("cbc:IdentificationCode", party.country)]),
                ],
            ),
            Node("cac:PartyTaxScheme", [Node("cbc:CompanyID", vat_id), _scheme()]) if vat_id else None,
            Node(
                "cac:PartyLegalEntity",
                [Node("cbc:RegistrationName", party.name), Node("cbc:CompanyID", party.registration_number)],
            ),
            contact if is_seller and (party.email or party.phone) else None,
        ],
    )


def _payment_means(invoice: EInvoice) -> Node | None:
    seller, means = invoice.seller, invoice.payment_means
    if not means:
        return None
    return Node(
        "cac:PaymentMeans",
        [
            Node("cbc:PaymentMeansCode", means),
            Node("cbc:PaymentID", invoice.number),
            Node(
                "cac:PayeeFinancialAccount",
                [
                    Node("cbc:ID", seller.iban),
                    Node("cbc:Name", seller.name),
                    Node("cac:FinancialInstitutionBranch", [Node("cbc:ID", seller.bic)]),
                ],
            ),
        ],
    )


def _tax(tax: ETax, currency: str) -> Node:
    return Node(
        "cac:TaxSubtotal",
        [
            _money("cbc:TaxableAmount", tax.net, currency),
            _money("cbc:TaxAmount", tax.tax, currency),
            Node(
                "cac:TaxCategory",
                [
                    Node("cbc:ID", tax.category),
                    Node("cbc:Percent", tax.rate) if tax.rate is not None else None,
                    Node("cbc:TaxExemptionReasonCode", tax.reason_code),
                    Node("cbc:TaxExemptionReason", tax.reason),
                    _scheme(),
                ],
            ),
        ],
    )


def _line(line: ELine, currency: str, kind: str) -> Node:
    base = line.base_quantity
    counted = "Credited" if kind == "CreditNote" else "Invoiced"
    return Node(
        f"cac:{kind}Line",
        [
            Node("cbc:ID", line.number),
            Node(f"cbc:{counted}Quantity", line.quantity, unitCode=ONE),
            _money("cbc:LineExtensionAmount", line.net, currency),
            _period(line.start, line.end),
            Node(
                "cac:Item",
                [
                    Node("cbc:Description", line.description),
                    Node("cbc:Name", line.name),
                    Node(
                        "cac:ClassifiedTaxCategory",
                        [
                            Node("cbc:ID", line.category),
                            Node("cbc:Percent", line.rate) if line.rate is not None else None,
                            _scheme(),
                        ],
                    ),
                ],
            ),
            Node(
                "cac:Price",
                [
                    Node("cbc:PriceAmount", line.price, currencyID=currency),
                    Node("cbc:BaseQuantity", base, unitCode=ONE) if base is not None else None,
                ],
            ),
        ],
    )
