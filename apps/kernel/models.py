from typing import Any, ClassVar

from django.db import models

from apps.kernel.ids import new_id


class AmountField(models.DecimalField):
    """Money in major units, exact to the atomic unit of 1e-9."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 38)
        kwargs.setdefault("decimal_places", 9)
        super().__init__(*args, **kwargs)


class QuantityField(AmountField):
    """A measured quantity, exact to 9 places."""


class UnitPriceField(models.DecimalField):
    """A price per unit in major units, up to 15 places."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_digits", 38)
        kwargs.setdefault("decimal_places", 15)
        super().__init__(*args, **kwargs)


class CurrencyCodeField(models.CharField):
    """An ISO 4217 code; one per row, beside that row's amounts."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 3)
        super().__init__(*args, **kwargs)


class PublicIdField(models.CharField):
    """The id that leaves the system: `prefix_…`, random, never reused."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", 40)
        kwargs.setdefault("editable", False)
        super().__init__(*args, **kwargs)


class Entity(models.Model):
    """Base of everything that the API names: integer key inside, `prefix_…` outside."""

    PREFIX: ClassVar[str]

    public_id = PublicIdField(unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self.public_id:
            self.public_id = new_id(self.PREFIX)
        super().save(*args, **kwargs)

    def __str__(self) -> str:
        return str(getattr(self, "name", "") or self.public_id)
