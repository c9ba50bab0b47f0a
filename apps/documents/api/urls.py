from django.urls import path

from apps.documents.api.credits import CreditNoteEInvoice, CreditNotePdf
from apps.documents.api.invoices import InvoiceEInvoice, InvoicePdf

urlpatterns = [
    path("v2/invoices/<str:public_id>/pdf", InvoicePdf.as_view()),
    path("v2/invoices/<str:public_id>/eInvoice", InvoiceEInvoice.as_view()),
    path("v2/creditNotes/<str:public_id>/pdf", CreditNotePdf.as_view()),
    path("v2/creditNotes/<str:public_id>/eInvoice", CreditNoteEInvoice.as_view()),
]
