from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from import_export import resources
from import_export.fields import Field
from unfold.admin import TabularInline
from unfold.decorators import display

from apps.customers.admin.adding import NEW_CUSTOMER_FIELDS, NewCustomerForm
from apps.customers.models import Customer, ExternalIdLink
from apps.customers.selectors.customers import tax_address_problem
from apps.customers.services.customers import update_customer
from apps.kernel.adminsite.base import BillingModelAdmin
from apps.kernel.adminsite.display import link, moment, related_lists
from apps.kernel.clock import wall_now
from apps.kernel.http.fields import time_zones
from apps.organizations.domain.identifiers import tax_id_country


class CustomerResource(resources.ModelResource):
    """Columns of the export."""

    name = Field("consumer__name", "name")
    email = Field("consumer__email", "email")
    country = Field("consumer__country", "country")

    class Meta:
        model = Customer
        fields = ("public_id", "external_id", "name", "email", "country", "tax_id", "created_at")


class CustomerForm(forms.ModelForm):
    class Meta:
        model = Customer
        fields = [
            "external_id", "tax_id", "tax_rates", "zero_tax_reason", "zero_tax_note", "billing_reference", "timezone",
            "consolidate_invoices", "notify_invoice_issued", "notify_invoice_paid", "notify_renewal",
        ]  # fmt: skip

    def clean_external_id(self) -> str | None:
        wanted: str | None = self.cleaned_data["external_id"] or None
        taken = Customer.objects.filter(
            organization_id=self.instance.organization_id, external_id=wanted, deleted_at__isnull=True
        ).exclude(pk=self.instance.pk)
        if wanted is not None and taken.exists():
            raise forms.ValidationError("Another customer has this id; take it from that one first.")
        return wanted

    def clean_timezone(self) -> str:
        name = str(self.cleaned_data["timezone"])
        if name and name not in time_zones():
            raise forms.ValidationError("Give the IANA name of a time zone, such as Europe/Paris.")
        return name


class ExternalIdLinkInline(TabularInline):
    """Own ids the customer had, and when; they are written by changing the customer."""

    model = ExternalIdLink
    fields = readonly_fields = ["external_id", "starts_at", "ends_at"]
    extra = 0
    verbose_name_plural = "Own ids over time"

    @display(description="From")
    def starts_at(self, row: ExternalIdLink) -> str:
        return moment(row.valid.lower) if row.valid.lower is not None else "the beginning"

    @display(description="Until")
    def ends_at(self, row: ExternalIdLink) -> str:
        return moment(row.valid.upper)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True


@admin.register(Customer)
class CustomerAdmin(BillingModelAdmin):
    """Who is billed."""

    empty_text = "Add a customer here, or over the API: POST /v0/customers."
    change_right: ClassVar[str | None] = "edit_customer"
    add_right: ClassVar[str | None] = "edit_customer"
    resource_classes = [CustomerResource]
    list_display = ["shown", "external_id", "country", "tax_address", "organization", "created_at"]
    list_filter = ["organization", "consumer__country", ("deleted_at", admin.EmptyFieldListFilter)]
    search_fields = ["public_id", "external_id", "consumer__name", "consumer__email", "tax_id"]
    list_select_related = ["consumer", "organization"]
    date_hierarchy = "created_at"
    fields = [
        "public_id", "organization", "consumer_page", "related", "external_id", "tax_id", "tax_id_checked",
        "tax_rates", "zero_tax_reason", "zero_tax_note", "billing_reference", "timezone", "consolidate_invoices",
        "notify_invoice_issued", "notify_invoice_paid", "notify_renewal", "created_at",
    ]  # fmt: skip
    readonly_fields = ["public_id", "organization", "consumer_page", "related", "tax_id_checked", "created_at"]
    form = CustomerForm
    inlines = [ExternalIdLinkInline]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["form"] = NewCustomerForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_fields(request, obj) if obj is not None else NEW_CUSTOMER_FIELDS

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return super().get_readonly_fields(request, obj) if obj is not None else ()

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return super().get_inlines(request, obj) if obj is not None else ()

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        # A button of a higher app: the screen of entitlements asks for the same right.
        offered = {"may_issue": self.has_manage_subscription_permission(request, object_id)}
        page: HttpResponse = super().change_view(request, object_id, form_url, {**(extra_context or {}), **offered})
        return page

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: Any) -> None:
        if not change:
            return  # made by the form
        changes = {name: form.cleaned_data[name] for name in form.changed_data}
        update_customer(customer_id=obj.pk, changes=changes, as_of=wall_now())

    @display(description="Customer", header=True, ordering="consumer__name")
    def shown(self, customer: Customer) -> list[str]:
        return [customer.consumer.name, customer.consumer.email]

    @display(description="Country", ordering="consumer__country")
    def country(self, customer: Customer) -> str:
        return customer.consumer.country or "—"

    @display(description="Tax address", label={"valid": "success", "incomplete": "warning"})
    def tax_address(self, customer: Customer) -> str:
        return "valid" if tax_address_problem(customer.consumer) is None else "incomplete"

    @display(description="See also")
    def related(self, customer: Customer) -> str:
        # The lists of higher apps, by address: this app does not know their models.
        return related_lists(
            ("Subscriptions", "subscriptions_subscription", "customer__id__exact", customer.pk),
            ("Entitlements", "entitlements_entitlement", "customer__id__exact", customer.pk),
            ("Invoices", "invoicing_invoice", "customer__id__exact", customer.pk),
            ("Credit notes", "invoicing_creditnote", "customer__id__exact", customer.pk),
            ("Tax exemptions", "taxes_taxexemption", "customer__id__exact", customer.pk),
            ("Coupons", "invoicing_appliedcoupon", "customer__id__exact", customer.pk),
        )

    @display(description="Tax id, checked")
    def tax_id_checked(self, customer: Customer) -> str:
        if not customer.tax_id:
            return "none: taxed as a consumer"
        country = tax_id_country(customer.tax_id, customer.consumer.country)
        # Whether it is registered, no rule can tell.
        return (
            f"of a business in {country}, by its form" if country else "no tax id of its country: taxed as a consumer"
        )

    @display(description="Consumer")
    def consumer_page(self, customer: Customer) -> str:
        return link(customer.consumer)
