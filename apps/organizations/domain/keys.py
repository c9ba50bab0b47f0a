"""API key secrets: how they look and how they are stored."""

import hashlib
import secrets
import string

ALPHABET = string.ascii_letters + string.digits
PREFIXES = {"test": "sk_test_", "live": "sk_live_"}


def new_secret(environment: str) -> str:
    """Make a secret `sk_test_…` or `sk_live_…` with 40 random characters (238 bits)."""
    return PREFIXES[environment] + "".join(secrets.choice(ALPHABET) for _ in range(40))


def hash_secret(secret: str) -> bytes:
    """Give the 32-byte hash a secret is stored as.

    A plain SHA-256 is enough: the secret is random, so there is no dictionary to slow down.
    """
    return hashlib.sha256(secret.encode()).digest()
