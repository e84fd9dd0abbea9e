"""What a provider says of a person: an ID token that is checked, and the role that follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from joserfc import jwt
from joserfc.jwk import KeySet

from watcher_server.auth.scopes import Scope
from watcher_server.auth.trusted_header import scope_for
from watcher_server.settings import Settings

# Signatures only the provider can make: none that a shared secret or nothing at all would do for.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"]

Claims = Mapping[str, Any]


@dataclass(frozen=True)
class Identity:
    """A person by issuer and subject. ``scope`` is None when none of their roles is one here."""

    issuer: str
    subject: str
    name: str
    scope: Scope | None


def check_id_token(token: str, keys: KeySet, *, issuer: str, client_id: str, nonce: str) -> Claims:
    """The claims of an ID token (OpenID Connect Core 3.1.3.7).

    Raises:
        JoseError: the signature, the issuer, the audience, the nonce or a time is wrong.
        ValueError: it is no token, or another client's.
    """
    claims = jwt.decode(token, keys, algorithms=_ALGORITHMS).claims
    registry = jwt.JWTClaimsRegistry(
        leeway=60,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        nonce={"essential": True, "value": nonce},
        sub={"essential": True},
        exp={"essential": True},
        iat={"essential": True},
    )
    registry.validate(claims)
    if claims.get("azp", client_id) != client_id:
        raise ValueError("The ID token was made for another client")
    return claims


def identify(claims: Claims, settings: Settings) -> Identity:
    """Who the claims are about."""
    names = [name for key in ("preferred_username", "name", "sub") if isinstance(name := claims.get(key), str)]
    # As it can stand on a page and in a log.
    name = next(shown for each in names if (shown := "".join(filter(str.isprintable, each)).strip()[:150]))
    scope = scope_for(role_values(claims, settings.oidc_role_claim), settings.roles)
    return Identity(str(claims["iss"]), str(claims["sub"]), name, scope)


def role_values(claims: Claims, path: str) -> Sequence[str]:
    """The texts in a claim, which may lie inside others: ``realm_access.roles``."""
    found: Any = claims.get(path)
    if found is None:
        found = claims
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    values = found if isinstance(found, list) else [found]
    return [value for value in values if isinstance(value, str)]
