"""What can be wrong with a request, in the words of the domain; ``http.errors`` gives each its status."""


class DomainError(Exception):
    """Something the caller can put right; the message is one clear sentence."""


class NotFoundError(DomainError):
    """What the request refers to does not exist."""


class NameTakenError(DomainError):
    """The new name belongs to another object."""


class ConflictError(DomainError):
    """The request contradicts what is already stored."""


class InvalidOrderError(DomainError):
    """An end that does not come after its start."""


class InvalidFieldError(DomainError):
    """A field that only the stored row can prove wrong.

    Args:
        field: the name in the request body.
        message: what is wrong with it.
        path: where in the body that field lies.
    """

    def __init__(self, field: str, message: str, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.field = field
        self.path = path


class UnavailableError(DomainError):
    """A service that the answer needs does not respond; trying again later will work."""
