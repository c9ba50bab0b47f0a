"""What can go wrong in the business, and how each kind is answered.

DomainError
├── InvalidError          400  a field is malformed; names every one
├── UnauthenticatedError  401
├── ForbiddenError        403
├── NotFoundError         404
├── ConflictError         409  a rule says no
├── UnprocessableError    422
├── RateLimitedError      429
└── UnavailableError      503
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """One malformed field: its dotted path, what to do, and a machine-readable code."""

    field: str
    message: str
    code: str = "invalid"


class DomainError(Exception):
    """A refusal with an HTTP status, a code, and a message that says what to do."""

    status: ClassVar[int] = 400
    error: ClassVar[str] = "bad_request"
    default_code: ClassVar[str] = "BAD_REQUEST"

    def __init__(self, message: str, *, code: str | None = None, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.details = details or {}


class InvalidError(DomainError):
    error = "validation_error"
    default_code = "VALIDATION_ERROR"

    def __init__(
        self,
        message: str,
        *,
        errors: Sequence[FieldError] = (),
        code: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.errors = tuple(errors)


class UnauthenticatedError(DomainError):
    status = 401
    error = "unauthorized"
    default_code = "UNAUTHORIZED"


class ForbiddenError(DomainError):
    status = 403
    error = "forbidden"
    default_code = "FORBIDDEN"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "no_permission",
        required_permissions: Sequence[str] = (),
        code: str | None = None,
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, details=details)
        self.reason = reason
        self.required_permissions = tuple(required_permissions)


class NotFoundError(DomainError):
    status = 404
    error = "not_found"
    default_code = "NOT_FOUND"


class ConflictError(DomainError):
    status = 409
    error = "conflict"
    default_code = "CONFLICT"


class UnprocessableError(DomainError):
    status = 422
    error = "unprocessable"
    default_code = "UNPROCESSABLE"


class RateLimitedError(DomainError):
    status = 429
    error = "rate_limited"
    default_code = "RATE_LIMITED"

    def __init__(self, message: str, *, retry_after_seconds: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(DomainError):
    status = 503
    error = "unavailable"
    default_code = "UNAVAILABLE"

    def __init__(self, message: str, *, retry_after_seconds: int = 1, code: str | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_seconds = retry_after_seconds
