"""A new customer, with the consumer it stands for."""

from typing import Any

from django import forms
from django.db import transaction
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminTextInputWidget

from apps.customers.models import Customer
from apps.customers.services.customers import create_customer
from apps.kernel.adminsite.forms import check_by_rules
from apps.kernel.adminsite.texts import check_line
from apps.kernel.clock import wall_now
from apps.organizations.services.organizations import find_or_create_consumer

NEW_CUSTOMER_FIELDS = (
    "organization", "name", "email", "phone", "line1", "line2", "zip_code", "city", "state", "country", "tax_id",
    "external_id",
)  # fmt: skip
ADDRESS = {"line1": "line1", "line2": "line2", "city": "city", "state": "state", "zip_code": "zipCode"}


def _text(label: str, length: int = 255, **more: Any) -> forms.CharField:
    return forms.CharField(
        label=label, max_length=length, widget=UnfoldAdminTextInputWidget, validators=[check_line], **more
    )


class NewCustomerForm(forms.ModelForm):
    """Asks for what an invoice needs; the customer's other settings come afterwards."""

    name = _text("Name")
    email = forms.EmailField(max_length=254, widget=UnfoldAdminEmailInputWidget)
    phone = _text("Phone", 50, required=False)
    line1 = _text("Address", required=False)
    line2 = _text("Address, second line", required=False)
    zip_code = _text("Postal code", 20, required=False)
    city = _text("City", required=False)
    state = _text("State", 100, required=False)
    country = forms.RegexField(
        r"^[A-Z]{2}$", required=False, help_text="ISO 3166 code, such as FR.", widget=UnfoldAdminTextInputWidget,
        error_messages={"invalid": "Give two capital letters, such as FR."},
    )  # fmt: skip

    class Meta:
        model = Customer
        fields = ["organization", "external_id", "tax_id"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["organization"]
        field.label = "Merchant"
        field.queryset = field.queryset.filter(is_merchant=True)
        # Most people work for one merchant.
        known = list(field.queryset[:2])
        field.initial = known[0] if len(known) == 1 else None

    def clean_external_id(self) -> str | None:
        return self.cleaned_data["external_id"] or None

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]
        if not self.errors:
            check_by_rules(self, self._make, {})

    @transaction.atomic
    def _make(self) -> None:
        """Make the customer as the last step of checking the form, so that every refusal stands on it."""
        data = self.cleaned_data
        address = {wire: data[field] for field, wire in ADDRESS.items()} | {"country": data["country"]}
        consumer = find_or_create_consumer(
            merchant=data["organization"],
            name=data["name"],
            email=data["email"],
            phone=data["phone"],
            address=address,
        )
        customer, is_new = create_customer(
            merchant=data["organization"],
            consumer=consumer,
            external_id=data["external_id"],
            tax_id=data["tax_id"],
            as_of=wall_now(),
        )
        if is_new:
            self.instance = customer
        else:
            self.add_error("email", f"This is {customer.public_id} already.")

    def save(self, commit: bool = True) -> Customer:
        """Give the customer that was made."""
        customer: Customer = self.instance
        return customer

    def save_m2m(self) -> None:
        """There is nothing beside the row itself."""
