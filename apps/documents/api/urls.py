from django.urls import path

from apps.documents.api.invoices import InvoicePdf

urlpatterns = [
    path("v2/invoices/<str:public_id>/pdf", InvoicePdf.as_view()),
]
