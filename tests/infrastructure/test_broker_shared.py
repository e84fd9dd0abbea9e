"""Brokers as companies have them: shared by a prefix, with users that may do little, encrypted, behind Sentinels."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from celery import Celery
from sqlalchemy import Engine, NullPool, create_engine, text

from tests.conftest import MakeClient, create_database
from tests.deploy.tools import ROOT
from tests.support.certificates import certificate
from tests.support.live import wait_until, watcher_process
from tests.support.redis_servers import MASTER, redis_server, sentinel_group
from tests.support.tasks import add_waiting
from watcher_server.database.engine import sqlalchemy_url
from watcher_server.settings import load_settings
from watcher_server.tasking.queues.depths import measure_queues
from watcher_server.tasking.sending.configuration import broker_configuration

# It has a rate limit, so that it is paced in the broker too.
TASK = "freshness_check_task"


def documented_user(prefix: str, database: int = 0) -> str:
    """The user of docs/broker.md, for another prefix and another database."""
    page = (ROOT / "docs" / "broker.md").read_text()
    block = re.search(r"```text\n(user watcher .*?)```", page, re.DOTALL)
    assert block is not None
    line = " ".join(block[1].split())
    return line.replace("shop:", prefix).replace("/0.", f"/{database}.").replace("PASSWORD", "pass;word")


@dataclass(frozen=True)
class Site:
    """A worker with its relay and keeper, on a database of its own."""

    engine: Engine
    database_url: str
    broker_url: str
    log: Path

    def send(self, queue: str = "scheduled") -> str:
        """Have the relay publish a task."""
        with self.engine.begin() as connection:
            return add_waiting(connection, TASK, queue=queue)

    def state(self, task: str) -> str | None:
        """What the history says of the task; None if it does not know it."""
        with self.engine.connect() as connection:
            state: str | None = connection.scalar(text("SELECT state FROM task WHERE id = :id"), {"id": task})
        return state

    def ready(self) -> int | None:
        """What waits in the queues of the broker, as the pages show it."""
        settings = load_settings(database_url=self.database_url, broker_url=self.broker_url)
        with self.engine.connect() as connection:
            return measure_queues(connection, settings).total.ready

    def answers(self) -> list[str]:
        """The workers that answer a remote command."""
        with Celery("asking", set_as_current=False) as app:
            app.conf.update(broker_configuration(load_settings(broker_url=self.broker_url)))
            return [name for answer in app.control.ping(timeout=2) or [] for name in answer]


@contextmanager
def site(name: str, broker_url: str, folder: Path, worker_id: str) -> Iterator[Site]:
    """A site whose worker answers, until the block ends."""
    database_url = create_database(f"watcher_{name}_{worker_id}")
    engine = create_engine(sqlalchemy_url(database_url), poolclass=NullPool)
    environment = {
        "WATCHER_HOME": str(folder / name),
        "WATCHER_DATABASE_URL": database_url,
        "WATCHER_BROKER_URL": broker_url,
        "WATCHER_WORKER_METRICS_PORT": "0",
    }
    log = folder / f"{name}.log"
    with watcher_process(["worker", "--concurrency", "1", "--queues", "celery,scheduled"], environment, log):
        yield Site(engine, database_url, broker_url, log)


def wait_until_it_ran(place: Site, task: str) -> None:
    wait_until(lambda: place.state(task) == "SUCCESS", f"the task's end ({place.log})", 60)


def test_two_that_share_a_database_by_their_prefixes_see_nothing_of_each_other(tmp_path: Path, worker_id: str) -> None:
    users = [documented_user(prefix, 3).replace("user watcher", f"user {prefix[:-1]}") for prefix in ("shop:", "bank:")]
    with redis_server(tmp_path / "redis", *users) as server, ExitStack() as stack:
        shop, bank = [
            stack.enter_context(
                site(name, f"redis://{name}:pass%3Bword@127.0.0.1:{server.port}/3?prefix={name}:", tmp_path, worker_id)
            )
            for name in ("shop", "bank")
        ]
        ran, other = shop.send(), bank.send()
        wait_until_it_ran(shop, ran)
        wait_until_it_ran(bank, other)
        answers = [*shop.answers(), *bank.answers()]
        assert len(answers) == len(set(answers)) == 2
        # No worker of its own reads this queue, and no worker of the other may.
        left = shop.send("alerts")
        wait_until(lambda: shop.ready() == 1, "the task waiting in the broker")
        assert bank.ready() == 0
        assert bank.state(ran) is bank.state(left) is shop.state(other) is None
        wait_until_it_ran(bank, bank.send())
        assert shop.state(left) == "PENDING"
        with server.client(db=3) as client:
            assert {key.partition(b":")[0] for key in client.scan_iter()} == {b"shop", b"bank"}
            # Neither was refused anything: the documented rights are enough.
            assert client.acl_log() == []


async def test_an_encrypted_primary_behind_encrypted_sentinels_that_ask_for_a_password(
    tmp_path: Path, worker_id: str, make_client: MakeClient
) -> None:
    pair = certificate(tmp_path)
    with sentinel_group(tmp_path / "group", documented_user("shop:", 2), tls=pair, password="asked") as group:
        options = f"master_name={MASTER}&sentinel_password=asked&ssl_ca_certs={pair.certificate}&prefix=shop:"
        url = f"sentinels://watcher:pass%3Bword@{group.hosts}/2?{options}"
        with site("encrypted", url, tmp_path, worker_id) as place:
            wait_until_it_ran(place, place.send())
            assert len(place.answers()) == 1
            async with make_client(broker_url=url) as client:
                assert (await client.get("/health/ready")).json()["checks"]["broker"] == {"ok": True, "reason": None}
                assert (await client.get("/queues")).json()["ready"] == 0
                # One that hangs and one that is gone: the third is enough.
                group.sentinels[0].suspend()
                group.sentinels[1].kill()
                assert (await client.get("/health/ready")).json()["checks"]["broker"]["ok"] is True
            wait_until_it_ran(place, place.send())
            assert "pass;word" not in place.log.read_text()
            assert "asked" not in place.log.read_text()
