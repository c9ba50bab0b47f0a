from typing import ClassVar

import pghistory
from django.db import models
from django.db.models import Q

from apps.invoicing.domain.numbers import NEVER, YEARLY
from apps.kernel.models import Entity


class DocumentKind(models.TextChoices):
    INVOICE = "invoice", "Invoices"
    CREDIT_NOTE = "credit_note", "Credit notes"


class Reset(models.TextChoices):
    YEARLY = YEARLY, "Each year"
    NEVER = NEVER, "Never"


@pghistory.track()
class NumberingFormat(Entity):
    """How a merchant's documents of a kind are numbered; one of before stays, so that no number repeats."""

    PREFIX: ClassVar[str] = "nf"

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=12, choices=DocumentKind)
    text = models.CharField(
        "format", max_length=60, help_text="Such as INV-{year}-{number:05}, for numbers of at least five digits."
    )
    resets = models.CharField(
        "begins anew", max_length=6, choices=Reset, default=Reset.YEARLY, help_text="Each year needs {year}."
    )
    shape = models.CharField(max_length=60, editable=False, help_text="The format with digits as one sign.")
    is_current = models.BooleanField(default=True, help_text="It numbers what is issued from now on.")

    class Meta:
        constraints = [
            # No two formats of a merchant make the same number, whatever kind they are of.
            models.UniqueConstraint(fields=["organization", "shape"], name="numberingformat_shape_once"),
            models.UniqueConstraint(
                fields=["organization", "kind"], name="numberingformat_one_current", condition=Q(is_current=True)
            ),
            models.CheckConstraint(name="numberingformat_kind_known", condition=Q(kind__in=DocumentKind.values)),
            models.CheckConstraint(
                name="numberingformat_numbers",
                condition=Q(text__regex=r"^[A-Za-z0-9._{}:-]*\{number(:0[0-9]{1,2})?\}[A-Za-z0-9._{}-]*$"),
            ),
            models.CheckConstraint(
                name="numberingformat_resets_by_year",
                condition=Q(resets=NEVER) | Q(resets=YEARLY, text__contains="{year}"),
            ),
        ]

    def __str__(self) -> str:
        return self.text


class NumberSeries(models.Model):
    """The counter behind one run of document numbers; its row lock makes them gapless."""

    organization = models.ForeignKey("organizations.Organization", on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=12, choices=DocumentKind, default=DocumentKind.INVOICE)
    key = models.CharField("format", max_length=60, help_text="However many digits its numbers have at least.")
    year = models.PositiveSmallIntegerField(help_text="0 where numbers never begin anew.")
    last_number = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "number series"
        constraints = [
            models.UniqueConstraint(fields=["organization", "kind", "key", "year"], name="numberseries_once"),
            models.CheckConstraint(name="numberseries_year_sane", condition=Q(year__gte=1970) | Q(year=0)),
        ]

    def __str__(self) -> str:
        return f"{self.key} {self.year or ''}".strip()
