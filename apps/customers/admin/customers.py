from typing import ClassVar

from django.contrib import admin
from import_export import resources
from import_export.fields import Field
from unfold.decorators import display

from apps.customers.models import Customer
from apps.customers.selectors.customers import tax_address_problem
from apps.kernel.adminsite.base import BillingModelAdmin
from apps.kernel.adminsite.display import link


class CustomerResource(resources.ModelResource):
    """Columns of the export."""

    name = Field("consumer__name", "name")
    email = Field("consumer__email", "email")
    country = Field("consumer__country", "country")

    class Meta:
        model = Customer
        fields = ("public_id", "external_id", "name", "email", "country", "tax_id", "created_at")


@admin.register(Customer)
class CustomerAdmin(BillingModelAdmin):
    """Who is billed."""

    change_right: ClassVar[str | None] = "edit_customer"
    resource_classes = [CustomerResource]
    list_display = ["shown", "external_id", "country", "tax_address", "organization", "created_at"]
    list_filter = ["organization", "consumer__country", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "external_id", "consumer__name", "consumer__email", "tax_id"]
    list_select_related = ["consumer", "organization"]
    date_hierarchy = "created_at"
    fields = [
        "public_id", "organization", "consumer_page", "external_id", "tax_id", "tax_rates", "timezone",
        "notify_invoice_issued", "notify_invoice_paid", "notify_renewal", "created_at",
    ]  # fmt: skip
    readonly_fields = ["public_id", "organization", "consumer_page", "created_at"]

    @display(description="Customer", header=True, ordering="consumer__name")
    def shown(self, customer: Customer) -> list[str]:
        return [customer.consumer.name, customer.consumer.email]

    @display(description="Country", ordering="consumer__country")
    def country(self, customer: Customer) -> str:
        return customer.consumer.country or "—"

    @display(description="Tax address", label={"valid": "success", "incomplete": "warning"})
    def tax_address(self, customer: Customer) -> str:
        return "valid" if tax_address_problem(customer.consumer) is None else "incomplete"

    @display(description="Consumer")
    def consumer_page(self, customer: Customer) -> str:
        return link(customer.consumer)
