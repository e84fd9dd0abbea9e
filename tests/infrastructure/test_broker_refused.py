"""A broker that cannot do what Watcher needs is refused with one sentence, by everything that uses it."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.test_entry_points import CELERY, environment, run
from tests.conftest import MakeClient
from tests.deploy.tools import ROOT
from tests.support.certificates import Pair, certificate
from tests.support.live import free_port
from tests.support.redis_servers import HOST, MASTER, RedisServer, redis_server
from watcher_server.tasking.sending import broker_check
from watcher_server.tasking.sending.broker_check import UnfitBrokerError, require_broker


@dataclass(frozen=True)
class Brokers:
    """Brokers by what is special about them; ``files`` has their certificates and one of an unknown authority."""

    servers: dict[str, RedisServer]
    certificate: Pair
    other: Pair

    def url(self, form: str) -> str:
        """The URL with a server's name replaced by its place, and the certificates by their files."""
        for name, server in self.servers.items():
            form = form.replace(f"@{name}", f"@{HOST}:{server.port}").replace(f"IP-{name}", f"127.0.0.1:{server.port}")
        files = {"CA": self.certificate.certificate, "KEY": self.certificate.key, "OTHER": self.other.certificate}
        for name, path in files.items():
            form = form.replace(f"={name}", f"={path}")
        return form


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    folder = tmp_path_factory.mktemp("brokers")
    (folder / "other").mkdir()
    pair, other = certificate(folder), certificate(folder / "other")
    users = ["user limited on >secret ~* &* +@all -brpop", "user elsewhere on >secret ~bank:* &* +@all"]
    with ExitStack() as stack:

        def start(name: str, *lines: str, tls: Pair | None = None) -> RedisServer:
            return stack.enter_context(redis_server(folder / name, *lines, tls=tls))

        plain = start("plain", *users, "user silent on >secret ~* resetchannels +@all")
        servers = {
            "plain": plain,
            "encrypted": start("encrypted", tls=pair),
            "mutual": start("mutual", "tls-auth-clients yes", tls=pair),
            "cluster": start("cluster", "cluster-enabled yes", f"cluster-port {free_port()}"),
            "replica": start("replica", f"replicaof 127.0.0.1 {plain.port}"),
        }
        sentinel = RedisServer(
            folder / "sentinel", [f"sentinel monitor {MASTER} 127.0.0.1 {plain.port} 1"], sentinel=True
        )
        stack.callback(sentinel.kill)
        sentinel.start()
        yield Brokers({**servers, "sentinel": sentinel}, pair, other)


FINE = [
    "redis://@plain/0",
    "rediss://@encrypted/0?ssl_ca_certs=CA",
    "rediss://@mutual/0?ssl_ca_certs=CA&ssl_certfile=CA&ssl_keyfile=KEY",
    f"sentinel://@sentinel/0?master_name={MASTER}",
]
REFUSED = {
    "redis://@cluster/0": "The broker is a node of a Redis Cluster, which Celery cannot use",
    "redis://@cluster/1": "The broker is a node of a Redis Cluster, which Celery cannot use",
    "redis://@replica/0": "The broker is a replica and takes no tasks: point WATCHER_BROKER_URL at the primary",
    "redis://@sentinel/0": "A Sentinel answers where the broker should: write WATCHER_BROKER_URL=sentinel://",
    f"sentinel://@plain/0?master_name={MASTER}": "A broker answers where WATCHER_BROKER_URL names a Sentinel",
    "sentinel://@sentinel/0?master_name=other": f"The Sentinels know no primary other, only {MASTER}",
    "redis://limited:wrong@plain/0": "The broker refuses the user or the password: correct WATCHER_BROKER_URL.",
    "redis://limited:secret@plain/0": "The broker's user may not do all that Watcher needs",
    "redis://elsewhere:secret@plain/0?prefix=shop:": "The broker's user may not do all that Watcher needs",
    "redis://silent:secret@plain/0": "The broker's user may not do all that Watcher needs",
    "redis://@plain/99": "The broker has no database of that number",
    "redis://@encrypted/0": "The broker answers by TLS only: write rediss://",
    "rediss://@plain/0?ssl_ca_certs=CA": "The broker does not answer by TLS",
    "rediss://@encrypted/0": "The broker's certificate cannot be verified",
    "rediss://@encrypted/0?ssl_ca_certs=OTHER": "The broker's certificate cannot be verified",
    "rediss://IP-encrypted/0?ssl_ca_certs=CA": "The broker's certificate cannot be verified",
    "rediss://@mutual/0?ssl_ca_certs=CA": "The broker and Watcher cannot agree on TLS",
}


@pytest.mark.parametrize("form", FINE)
def test_one_that_can_do_it_all_is_taken(brokers: Brokers, form: str) -> None:
    require_broker(brokers.url(form))


@pytest.mark.parametrize(("form", "sentence"), REFUSED.items(), ids=REFUSED)
def test_one_that_cannot_is_refused_with_a_sentence(brokers: Brokers, form: str, sentence: str) -> None:
    with pytest.raises(UnfitBrokerError) as refused:
        require_broker(brokers.url(form))
    assert str(refused.value).startswith(sentence)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("answer", [b"redis 6.0.16", b"redis 5.0.3"])
def test_an_old_one_is_refused(answer: bytes) -> None:
    server, version = answer.split()
    hello = [b"server", server, b"version", version, b"mode", b"standalone", b"role", b"master"]
    assert broker_check.why_unfit(hello) == (
        "The broker is older than Redis 6.2: give Watcher Redis 6.2 or newer, or Valkey."
    )


def test_every_sentence_stands_in_the_documentation() -> None:
    page = " ".join((ROOT / "docs" / "broker.md").read_text().split())
    for sentence in REFUSED.values():
        assert sentence.split(f", only {MASTER}")[0].split(" other")[0] in page, sentence


@pytest.mark.parametrize("form", ["rediss://@encrypted/0?ssl_ca_certs=OTHER", "redis://@replica/0"])
def test_workers_and_beat_end_with_it(brokers: Brokers, form: str, database_url: str, tmp_path: Path) -> None:
    variables = environment(tmp_path, database_url=database_url, broker_url=brokers.url(form))
    ran = run([*CELERY, "worker" if "replica" in form else "beat"], variables)
    assert ran.returncode == 1
    assert REFUSED[form] in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("form", ["rediss://@encrypted/0", "redis://@cluster/0", "redis://limited:wrong@plain/0"])
async def test_the_api_says_it_when_asked_whether_it_is_ready(
    brokers: Brokers, form: str, make_client: MakeClient
) -> None:
    async with make_client(broker_url=brokers.url(form)) as client:
        answer = await client.get("/health/ready")
        queues = (await client.get("/queues")).json()
    assert answer.status_code == 503
    assert answer.json()["checks"]["broker"]["reason"].startswith(REFUSED[form])
    if not form.startswith("redis://@cluster"):
        assert queues["broker_error"].startswith(REFUSED[form])
    assert "limited" not in answer.text
