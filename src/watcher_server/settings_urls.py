"""What the URLs among the settings must be. No message quotes a URL: it may hold a password."""

from collections.abc import Sequence
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr

from watcher_server.kit.broker_url import parse_broker_url
from watcher_server.kit.libpq import libpq_parameters


def check_url(*schemes: str) -> AfterValidator:
    """A check that a URL has one of these schemes, and can be read."""

    def check(url: SecretStr | None) -> SecretStr | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url.get_secret_value())
            _ = parts.port
        except ValueError:
            # The error would quote a part of the password.
            raise ValueError("is not a URL; a password with special characters must be percent-encoded") from None
        _check_scheme(parts.scheme, schemes)
        return url

    return AfterValidator(check)


def _check_scheme(scheme: str, schemes: Sequence[str]) -> None:
    if scheme not in schemes:
        *others, last = [f"{known}://" for known in schemes]
        listed = f"{', '.join(others)} or {last}" if others else last
        raise ValueError(f"must start with {listed}, not {scheme or 'nothing'}://")


def check_database_url(url: SecretStr | None) -> SecretStr | None:
    """The URL, if libpq understands it. Raises ValueError: it does not."""
    if url is not None:
        scheme, separator, _ = url.get_secret_value().partition("://")
        _check_scheme(scheme if separator else "", ("postgresql", "postgres", "postgresql+psycopg"))
        libpq_parameters(url.get_secret_value())
    return url


def check_broker_url(url: SecretStr | None) -> SecretStr | None:
    """The URL, if it is one of a broker. Raises ValueError: it is none."""
    if url is not None:
        parse_broker_url(url.get_secret_value())
    return url


def check_issuer(issuer: str | None) -> str | None:
    """The issuer, if its connection is safe. Raises ValueError: it is not."""
    parts = urlsplit(issuer or "https://none")
    schemes = {"https", "http"} if parts.hostname in {"localhost", "127.0.0.1", "::1"} else {"https"}
    if not parts.hostname or parts.query or parts.fragment or parts.scheme not in schemes:
        raise ValueError("must begin with https:// (or, on this machine, http://) and have no query")
    return issuer
