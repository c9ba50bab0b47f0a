from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: an API key's organization, its user, and what the key may touch."""

    organization_id: int
    organization_public_id: str
    user_id: int
    user_public_id: str
    key_id: int
    scopes: frozenset[str]
    is_live: bool

    # What REST framework asks of a user object.
    is_authenticated = True

    def allows(self, scope: str) -> bool:
        return "*" in self.scopes or scope in self.scopes
