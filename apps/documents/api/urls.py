from django.urls import path

from apps.documents.api.archives import DocumentArchive
from apps.documents.api.credits import CreditNoteEInvoice, CreditNotePdf
from apps.documents.api.invoices import InvoiceEInvoice, InvoicePdf
from apps.documents.api.portal import PortalLink, portal, portal_invoice

urlpatterns = [
    path("v2/documents/archive", DocumentArchive.as_view()),
    path("v0/subscriptions/<str:public_id>/portal", PortalLink.as_view()),
    path("portal/<str:token>", portal, name="portal"),
    path("portal/<str:token>/invoices/<str:public_id>.pdf", portal_invoice, name="portal-invoice"),
    path("v2/invoices/<str:public_id>/pdf", InvoicePdf.as_view()),
    path("v2/invoices/<str:public_id>/eInvoice", InvoiceEInvoice.as_view()),
    path("v2/creditNotes/<str:public_id>/pdf", CreditNotePdf.as_view()),
    path("v2/creditNotes/<str:public_id>/eInvoice", CreditNoteEInvoice.as_view()),
]
