from django.urls import path

from apps.documents.api.invoices import InvoiceEInvoice, InvoicePdf

urlpatterns = [
    path("v2/invoices/<str:public_id>/pdf", InvoicePdf.as_view()),
    path("v2/invoices/<str:public_id>/eInvoice", InvoiceEInvoice.as_view()),
]
