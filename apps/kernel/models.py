from collections.abc import Collection
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Self

from django.db import models
from django.db.models.base import ModelState
from django.db.models.signals import post_init, pre_init  # noqa: TID251 - asks whether anybody listens

from apps.kernel.exact_json import ExactJSONDecoder, ExactJSONEncoder
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


class ExactJSONField(models.JSONField):
    """JSON whose numbers keep every digit: where they are not whole, they are read as Decimal."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs |= {"encoder": ExactJSONEncoder, "decoder": ExactJSONDecoder}
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        # The column is that of any JSON, so migrations need not know how it is read.
        name, _, args, kwargs = super().deconstruct()
        plain = {key: value for key, value in kwargs.items() if key not in ("encoder", "decoder")}
        return name, "django.db.models.JSONField", args, plain


class WrittenJSONField(models.JSONField):
    """JSON that is kept as it was written: for what is written by the thousand and read whole.

    The database need not take it apart to store it. It can look into it, but not compare it.
    """

    def db_type(self, connection: Any) -> str:
        return "json"

    def from_db_value(self, value: Any, *_: Any) -> Any:
        # The driver has read it.
        return value


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


class Row(models.Model):
    """Base of what is read by the thousand."""

    # Django looks up anew which field it is, each time it is asked for; ours is `id` everywhere.
    pk = property(attrgetter("id"), models.Model._set_pk_val)  # type: ignore[attr-defined]

    class Meta:
        abstract = True

    @classmethod
    def from_db(cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any) -> Self:
        """Make the object of a row that was read.

        As Django does, but for going through every field's descriptor, of which none has anything to do for a new
        object: a tenth of what closing a period cost a worker was spent there. What was not read is left out, which
        is how Django knows to read it when it is asked for.
        """
        if not _is_plain(cls):
            return super().from_db(db, field_names, values, **options)
        row = cls.__new__(cls)
        state = row._state = ModelState()
        state.adding, state.db = False, db
        row.__dict__.update(zip(field_names, values, strict=True))
        return row


class Entity(Row):
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


@cache
def _is_plain(model: type[models.Model]) -> bool:
    """Whether nothing wants to take part when an object of a model is made."""
    is_own = model.__init__ is not models.Model.__init__
    return not (is_own or pre_init.has_listeners(model) or post_init.has_listeners(model))
