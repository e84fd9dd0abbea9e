"""What a ``postgresql://`` URL says, read by libpq alone: several hosts, sockets, IPv6, and every parameter."""

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict


def libpq_parameters(database_url: str) -> dict[str, str]:
    """The parameters of a connection that the URL names, decoded; what it leaves out is left out.

    Any scheme will do, so that ``postgresql+psycopg://`` does.

    Raises:
        ValueError: libpq does not understand it. The message does not quote it, because it has a password.
    """
    try:
        found = conninfo_to_dict("postgresql://" + database_url.partition("://")[2])
    except (ProgrammingError, UnicodeError):
        raise ValueError(
            "is not a URL that libpq understands; a password with special characters must be percent-encoded"
        ) from None
    return {name: str(value) for name, value in found.items() if value is not None}
