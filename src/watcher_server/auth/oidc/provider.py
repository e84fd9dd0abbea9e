"""Talking to the provider: its discovery document and keys, kept for an hour, and the exchange of a code."""

import logging
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from watcher_server.auth.oidc.attempts import Attempt
from watcher_server.auth.oidc.claims import Claims, Identity, check_id_token, identify, role_values
from watcher_server.settings import Settings

logger = logging.getLogger(__name__)

_KEPT_SECONDS = 3600
# An ID token may be signed with a key that is newer than what is kept; who sends rubbish asks for it once a minute.
_LOOK_AGAIN_SECONDS = 60
# A browser is sent to the provider only when the provider answers.
_SEEN_SECONDS = 10
_AWAY_SECONDS = 5


class ProviderAwayError(Exception):
    """The provider does not answer, or not as one does; the message says what was wrong."""


class LoginRefusedError(Exception):
    """This login cannot be finished; the message says why."""


class OidcProvider:
    """The provider of WATCHER_OIDC_ISSUER."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issuer = settings.oidc_issuer or ""
        self._client_id = settings.oidc_client_id or ""
        self._kept: dict[str, tuple[float, Mapping[str, Any]]] = {}
        self._away: tuple[float, str] = (float("-inf"), "")

    @property
    def host(self) -> str:
        """What people know the provider by."""
        return urlsplit(self._issuer).netloc

    @property
    def _redirect_uri(self) -> str:
        return f"{(self._settings.public_url or '').rstrip('/')}/login/callback"

    async def login_url(self, attempt: Attempt) -> str:
        """Where the browser goes to log in. Raises ProviderAwayError: the provider does not say where that is."""
        await self._check_answers()
        endpoint = await self._endpoint("authorization_endpoint")
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "scope": self._settings.oidc_scopes,
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(query)}"

    async def finish(self, attempt: Attempt | None, answer: Mapping[str, str]) -> Identity:
        """Who has logged in, by what the provider sent the browser back with.

        Raises:
            LoginRefusedError: the provider or Watcher refuses this login.
            ProviderAwayError: the provider does not answer.
        """
        if "error" in answer and "code" not in answer:
            if answer["error"] == "access_denied":
                raise LoginRefusedError("The provider says that you were not let in, or that you turned back.")
            # Anybody can send a browser here with any text.
            said = f": {answer['error']}" if re.fullmatch("[a-z_]{1,40}", answer["error"]) else ""
            raise LoginRefusedError(f"The provider refuses the login{said}. Try again.")
        if attempt is None or not secrets.compare_digest(attempt.state.encode(), answer.get("state", "").encode()):
            raise LoginRefusedError("This login was not begun in this browser, or over ten minutes ago: try again.")
        # Another provider may have sent the answer (RFC 9207).
        must_say = (await self._discover()).get("authorization_response_iss_parameter_supported") is True
        if answer.get("iss", None if must_say else self._issuer) != self._issuer:
            raise LoginRefusedError(f"This answer does not come from {self.host}: try again.")
        tokens = await self._exchange(answer.get("code", ""), attempt)
        try:
            claims = await self._check(str(tokens.get("id_token", "")), attempt)
        except (JoseError, ValueError) as error:
            raise LoginRefusedError(f"The ID token of {self.host} is not valid: {type(error).__name__}.") from error
        if not role_values(claims, self._settings.oidc_role_claim) or "preferred_username" not in claims:
            claims = await self._add_userinfo(claims, str(tokens.get("access_token", "")))
        return identify(claims, self._settings)

    async def _check(self, token: str, attempt: Attempt) -> Claims:
        expected = {"issuer": self._issuer, "client_id": self._client_id, "nonce": attempt.nonce}
        try:
            return check_id_token(token, await self._keys(_KEPT_SECONDS), **expected)
        except InvalidKeyIdError:
            return check_id_token(token, await self._keys(_LOOK_AGAIN_SECONDS), **expected)

    async def _exchange(self, code: str, attempt: Attempt) -> Mapping[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_uri,
            "code_verifier": attempt.verifier,
        }
        endpoint, shown = await self._endpoint("token_endpoint"), await self._show_client()
        answer = await self._send("POST", endpoint, **{**shown, "data": form | shown.get("data", {})})
        if answer.is_server_error:
            raise ProviderAwayError(f"{self.host} answered {answer.status_code}")
        if not answer.is_success:
            # Such as invalid_client, where the secret is wrong: those who run Watcher have to know.
            said = str(_object(answer).get("error", answer.status_code))[:100]
            logger.warning("%s did not exchange the code of a login: %s", self.host, ascii(said))
            raise LoginRefusedError(f"{self.host} does not accept this login any more: try again.")
        return _object(answer)

    async def _add_userinfo(self, claims: Claims, access_token: str) -> Claims:
        """The claims, with those that the provider gives only to who asks for them."""
        if "userinfo_endpoint" not in await self._discover():
            return claims
        endpoint = await self._endpoint("userinfo_endpoint")
        answer = await self._send("GET", endpoint, headers={"Authorization": f"Bearer {access_token}"})
        if not answer.is_success:
            raise ProviderAwayError(f"{self.host} answered {answer.status_code} when asked for the person's roles")
        more = _object(answer)
        if more.get("sub") != claims["sub"]:
            raise LoginRefusedError(f"{self.host} tells of another person than the one who logged in.")
        return {**more, **claims}

    async def _show_client(self) -> dict[str, dict[str, str]]:
        """The headers or the fields of the form by which this client shows who it is."""
        if self._settings.oidc_client_secret is None:
            return {"data": {"client_id": self._client_id}}
        secret = self._settings.oidc_client_secret.get_secret_value()
        methods = (await self._discover()).get("token_endpoint_auth_methods_supported", [])
        if "client_secret_post" in methods and "client_secret_basic" not in methods:
            return {"data": {"client_id": self._client_id, "client_secret": secret}}
        # RFC 6749, 2.3.1: each is encoded as a form is, before Basic encodes both.
        pair = f"{quote(self._client_id, safe='')}:{quote(secret, safe='')}"
        return {"headers": {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}}

    async def _endpoint(self, name: str) -> str:
        url = (await self._discover()).get(name)
        # Nothing of a login may go over a worse connection than the issuer's own.
        if not isinstance(url, str) or urlsplit(url).scheme not in {"https", urlsplit(self._issuer).scheme}:
            raise ProviderAwayError(f"the discovery document of {self.host} has no usable {name}")
        return url

    async def _check_answers(self) -> None:
        """That the provider answers now. It is asked at most every ten seconds, and every five while it does not."""
        read_at, _ = self._kept.get(self._discovery_url, (float("-inf"), {}))
        if time.monotonic() - read_at < _SEEN_SECONDS:
            return
        failed_at, why = self._away
        if time.monotonic() - failed_at < _AWAY_SECONDS:
            raise ProviderAwayError(why)
        try:
            self._kept[self._discovery_url] = (time.monotonic(), await self._fetch(self._discovery_url))
        except ProviderAwayError as error:
            self._away = (time.monotonic(), str(error))
            raise

    @property
    def _discovery_url(self) -> str:
        return f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"

    async def _discover(self) -> Mapping[str, Any]:
        url = self._discovery_url
        document = await self._read(url, _KEPT_SECONDS)
        if document.get("issuer") != self._issuer:
            self._kept.pop(url, None)
            raise ProviderAwayError(f"the discovery document at {url} names another issuer than WATCHER_OIDC_ISSUER")
        return document

    async def _keys(self, kept_seconds: float) -> KeySet:
        document = await self._read(await self._endpoint("jwks_uri"), kept_seconds)
        try:
            return KeySet.import_key_set({"keys": document["keys"]})
        except (JoseError, KeyError, TypeError, ValueError) as error:
            raise ProviderAwayError(f"the keys of {self.host} cannot be read") from error

    async def _read(self, url: str, kept_seconds: float) -> Mapping[str, Any]:
        """A document of the provider. While the provider is away, one that is older than it should be will do."""
        read_at, document = self._kept.get(url, (float("-inf"), {}))
        if time.monotonic() - read_at < kept_seconds:
            return document
        try:
            document = await self._fetch(url)
        except ProviderAwayError:
            if not document:
                raise
            return document
        self._kept[url] = (time.monotonic(), document)
        return document

    async def _fetch(self, url: str) -> Mapping[str, Any]:
        answer = await self._send("GET", url)
        if not answer.is_success:
            raise ProviderAwayError(f"{url} answered {answer.status_code}")
        return _object(answer)

    async def _send(self, method: str, url: str, **request: Any) -> httpx.Response:
        headers = {"Accept": "application/json", **request.pop("headers", {})}
        try:
            async with httpx.AsyncClient(timeout=10) as client:
                return await client.request(method, url, headers=headers, **request)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ProviderAwayError(f"{self.host} does not answer ({type(error).__name__})") from error


def _object(answer: httpx.Response) -> Mapping[str, Any]:
    try:
        found = answer.json() if len(answer.content) <= 1024 * 1024 else None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProviderAwayError(f"{answer.url.host} answered something else than JSON")
    return found
