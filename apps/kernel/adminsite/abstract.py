"""Metaclasses of screens and forms that leave a method to those made of them, which then cannot be forgotten."""

from abc import ABCMeta

from django.forms.forms import DeclarativeFieldsMetaclass
from django.forms.widgets import MediaDefiningClass


class AbstractScreen(ABCMeta, MediaDefiningClass):
    """Of a screen of the admin with abstract methods."""


class AbstractForm(ABCMeta, DeclarativeFieldsMetaclass):
    """Of a form with abstract methods."""
