"""Text that people type is held to the same rule as the API's."""

from django.core.exceptions import ValidationError

from apps.kernel.text import find_unwritable, shows_something


def check_line(text: object, *, has_lines: bool = False) -> None:
    """Refuse what documents cannot print, and text that shows nothing."""
    # A form of JSON gives what it read of its text.
    if not isinstance(text, str):
        return
    if sign := find_unwritable(text, has_lines=has_lines):
        raise ValidationError(f"Text must not contain the control character {sign}.", code="unwritable")
    if not shows_something(text):
        raise ValidationError("This text shows nothing.", code="blank")


def check_lines(text: object) -> None:
    """The same for text that runs over lines."""
    check_line(text, has_lines=True)
