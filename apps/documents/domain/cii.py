"""An e-invoice in the syntax of UN/CEFACT: Cross Industry Invoice, as Factur-X and ZUGFeRD embed it."""

from datetime import date

from apps.documents.domain.einvoice import ONE, SPECIFICATION, EInvoice, ELine, ETax
from apps.documents.domain.parties import Party
from apps.documents.domain.xml import Node, amount, write

NAMES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
}


def write_cii(invoice: EInvoice) -> bytes:
    """Write an e-invoice as CII."""
    root = Node(
        "rsm:CrossIndustryInvoice",
        [
            Node(
                "rsm:ExchangedDocumentContext",
                [Node("ram:GuidelineSpecifiedDocumentContextParameter", [Node("ram:ID", SPECIFICATION)])],
            ),
            Node(
                "rsm:ExchangedDocument",
                [
                    Node("ram:ID", invoice.number),
                    Node("ram:TypeCode", invoice.type_code),
                    Node("ram:IssueDateTime", [_day(invoice.issued_on)]),
                    Node("ram:IncludedNote", [Node("ram:Content", invoice.note)]),
                ],
            ),
            Node(
                "rsm:SupplyChainTradeTransaction",
                [
                    *(_line(line, invoice.currency) for line in invoice.lines),
                    Node(
                        "ram:ApplicableHeaderTradeAgreement",
                        [
                            Node("ram:BuyerReference", invoice.buyer.reference),
                            _party("ram:SellerTradeParty", invoice.seller, invoice.seller_vat_id, is_seller=True),
                            _party("ram:BuyerTradeParty", invoice.buyer, invoice.buyer_vat_id, is_seller=False),
                        ],
                    ),
                    Node(
                        "ram:ApplicableHeaderTradeDelivery",
                        [
                            _ship_to(invoice.deliver_to),
                            Node(
                                "ram:ActualDeliverySupplyChainEvent",
                                [Node("ram:OccurrenceDateTime", [_day(invoice.end)])],
                            ),
                        ],
                    ),
                    _settlement(invoice),
                ],
            ),
        ],
    )
    return write(root, NAMES)


def _ship_to(country: str) -> Node | None:
    if not country:
        return None
    return Node("ram:ShipToTradeParty", [Node("ram:PostalTradeAddress", [Node("ram:CountryID", country)])])


def _day(day: date) -> Node:
    return Node("udt:DateTimeString", f"{day:%Y%m%d}", format="102")


def _period(start: date, end: date) -> Node:
    return Node(
        "ram:BillingSpecifiedPeriod",
        [Node("ram:StartDateTime", [_day(start)]), Node("ram:EndDateTime", [_day(end)])],
    )


def _line(line: ELine, currency: str) -> Node:
    base = line.base_quantity
    return Node(
        "ram:IncludedSupplyChainTradeLineItem",
        [
            Node("ram:AssociatedDocumentLineDocument", [Node("ram:LineID", line.number)]),
            Node(
                "ram:SpecifiedTradeProduct", [Node("ram:Name", line.name), Node("ram:Description", line.description)]
            ),
            Node(
                "ram:SpecifiedLineTradeAgreement",
                [
                    Node(
                        "ram:NetPriceProductTradePrice",
                        [
                            Node("ram:ChargeAmount", line.price),
                            Node("ram:BasisQuantity", base, unitCode=ONE) if base is not None else None,
                        ],
                    )
                ],
            ),
            Node("ram:SpecifiedLineTradeDelivery", [Node("ram:BilledQuantity", line.quantity, unitCode=ONE)]),
            Node(
                "ram:SpecifiedLineTradeSettlement",
                [
                    Node(
                        "ram:ApplicableTradeTax",
                        [
                            Node("ram:TypeCode", "VAT"),
                            Node("ram:CategoryCode", line.category),
                            Node("ram:RateApplicablePercent", line.rate) if line.rate is not None else None,
                        ],
                    ),
                    _period(line.start, line.end),
                    Node(
                        "ram:SpecifiedTradeSettlementLineMonetarySummation",
                        [Node("ram:LineTotalAmount", amount(line.net, currency))],
                    ),
                ],
            ),
        ],
    )


def _party(tag: str, party: Party, vat_id: str, *, is_seller: bool) -> Node:
    contact = Node(
        "ram:DefinedTradeContact",
        [
            Node("ram:PersonName", party.name),
            Node("ram:TelephoneUniversalCommunication", [Node("ram:CompleteNumber", party.phone)]),
            Node("ram:EmailURIUniversalCommunication", [Node("ram:URIID", party.email)]),
        ],
    )
    return Node(
        tag,
        [
            Node("ram:Name", party.name),
            Node("ram:SpecifiedLegalOrganization", [Node("ram:ID", party.registration_number)]),
            contact if is_seller and (party.email or party.phone) else None,
            Node(
                "ram:PostalTradeAddress",
                [
                    Node("ram:PostcodeCode", party.zip_code),
                    Node("ram:LineOne", party.line1),
                    Node("ram:LineTwo", party.line2),
                    Node("ram:CityName", party.city),
                    Node("ram:CountryID", party.country),
                    Node("ram:CountrySubDivisionName", party.state),
                ],
            ),
            Node("ram:URIUniversalCommunication", [Node("ram:URIID", party.email, schemeID="EM")]),
            Node("ram:SpecifiedTaxRegistration", [Node("ram:ID", vat_id, schemeID="VA")]),
        ],
    )


def _settlement(invoice: EInvoice) -> Node:
    seller, currency = invoice.seller, invoice.currency
    means = invoice.payment_means
    return Node(
        "ram:ApplicableHeaderTradeSettlement",
        [
            Node("ram:PaymentReference", invoice.number if means else ""),
            Node("ram:InvoiceCurrencyCode", currency),
            Node(
                "ram:SpecifiedTradeSettlementPaymentMeans",
                [
                    Node("ram:TypeCode", means),
                    Node(
                        "ram:PayeePartyCreditorFinancialAccount",
                        [Node("ram:IBANID", seller.iban), Node("ram:AccountName", seller.name)],
                    ),
                    Node("ram:PayeeSpecifiedCreditorFinancialInstitution", [Node("ram:BICID", seller.bic)]),
                ],
            )
            if means
            else None,
            *(_tax(tax, currency) for tax in invoice.taxes),
            _period(invoice.start, invoice.end),
            Node("ram:SpecifiedTradePaymentTerms", [Node("ram:DueDateDateTime", [_day(invoice.due_on)])])
            if invoice.due_on is not None
            # What is not paid says so; the standard asks for one of the two.
            else Node("ram:SpecifiedTradePaymentTerms", [Node("ram:Description", invoice.terms)]),
            Node(
                "ram:SpecifiedTradeSettlementHeaderMonetarySummation",
                [
                    Node("ram:LineTotalAmount", amount(invoice.net, currency)),
                    Node("ram:TaxBasisTotalAmount", amount(invoice.net, currency)),
                    Node("ram:TaxTotalAmount", amount(invoice.tax, currency), currencyID=currency),
                    Node("ram:GrandTotalAmount", amount(invoice.total, currency)),
                    Node("ram:TotalPrepaidAmount", amount(invoice.prepaid, currency)) if invoice.prepaid else None,
                    Node("ram:DuePayableAmount", amount(invoice.due, currency)),
                ],
            ),
            Node("ram:InvoiceReferencedDocument", [Node("ram:IssuerAssignedID", invoice.corrects)]),
        ],
    )


def _tax(tax: ETax, currency: str) -> Node:
    return Node(
        "ram:ApplicableTradeTax",
        [
            Node("ram:CalculatedAmount", amount(tax.tax, currency)),
            Node("ram:TypeCode", "VAT"),
            Node("ram:ExemptionReason", tax.reason),
            Node("ram:BasisAmount", amount(tax.net, currency)),
            Node("ram:CategoryCode", tax.category),
            Node("ram:ExemptionReasonCode", tax.reason_code),
            Node("ram:RateApplicablePercent", tax.rate) if tax.rate is not None else None,
        ],
    )
