"""Passwords of tests: hashed as all others are, but once and not many hundred thousand times."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """Others can check what it made, as servers do that tests start: the number of rounds is part of the hash."""

    iterations = 1
