"""Providers of logins (OpenID Connect) on this machine."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import oidc_provider_mock
import pytest

from tests.support.live import free_port, wait_until

NODE_SECRET = "a secret of the client: with %, + and /"
_SCRIPT = Path(__file__).parent / "oidc_provider.mjs"
ROLES = {"vera": "viewer", "edith": "editor", "ada": "admin"}


@contextmanager
def start_mock_provider(roles: Mapping[str, str] = ROLES) -> Iterator[str]:
    """The issuer of a provider that lets everybody in without a password, with the role that ``roles`` gives."""
    users = [
        oidc_provider_mock.User(sub=name, claims={"preferred_username": name.title(), "roles": [role]})
        for name, role in roles.items()
    ]
    with oidc_provider_mock.run_server_in_thread(user_claims=users) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def start_node_provider(redirect_uri: str) -> Iterator[str]:
    """The issuer of npm's oidc-provider, where everybody is named as they type, and has the role of that name."""
    node = shutil.which("node")
    if node is None or not Path("node_modules/oidc-provider").is_dir():
        pytest.skip("npm's oidc-provider is not installed: `make node_modules/.ready-dev` brings it.")
    port = free_port()
    process = subprocess.Popen([node, str(_SCRIPT), str(port), redirect_uri], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _answers(port), "the provider's start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/.well-known/openid-configuration").is_success
    except httpx.HTTPError:
        return False


async def pass_mock_provider(client: httpx.AsyncClient, name: str, target: str = "/ui") -> httpx.Response:
    """Log in at the mock provider as somebody; the answer to the way back."""
    begun = await client.get("/login/start", params={"next": target})
    assert begun.status_code == 303, begun.text
    async with httpx.AsyncClient() as outside:
        back = await outside.post(begun.headers["location"], data={"sub": name})
    assert back.status_code in {302, 303}, back.text
    place = urlsplit(back.headers["location"])
    return await client.get(f"{place.path}?{place.query}")
