"""The transaction of a task: its time limit and its durability, and neither beyond its end."""

import pytest
from sqlalchemy import Connection, Engine, text

from watcher_server.database.engine import sync_engine
from watcher_server.tasking.sending import task
from watcher_server.tasking.sending.task import task_transaction

pytestmark = pytest.mark.usefixtures("engine")


class Running:
    """A task that runs, with its soft time limit."""

    def __init__(self, soft_time_limit: float | None) -> None:
        self.soft_time_limit = soft_time_limit


def setting(connection: Connection, name: str) -> str:
    return str(connection.scalar(text("SELECT current_setting(:name)"), {"name": name}))


def test_its_commit_waits_for_the_disk_unless_it_says_otherwise() -> None:
    with task_transaction() as connection:
        assert setting(connection, "synchronous_commit") == "on"
    with task_transaction(durable=False) as connection:
        assert setting(connection, "synchronous_commit") == "off"
    with sync_engine().connect() as connection:
        assert setting(connection, "synchronous_commit") == "on", "it lasted beyond the transaction"


@pytest.mark.parametrize(("limit", "seconds"), [(115, "110s"), (20.5, "15s"), (3, "1s")])
@pytest.mark.parametrize("durable", [True, False])
def test_a_statement_ends_before_the_task_does(
    limit: float, seconds: str, durable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "current_task", Running(limit))

    with task_transaction(durable=durable) as connection:
        assert setting(connection, "statement_timeout") == seconds
        assert setting(connection, "synchronous_commit") == ("on" if durable else "off")


def test_without_a_limit_the_one_of_the_session_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "current_task", Running(None))
    with sync_engine().connect() as connection:
        before = setting(connection, "statement_timeout")

    with task_transaction(durable=False) as connection:
        assert setting(connection, "statement_timeout") == before


def test_what_it_wrote_is_gone_after_an_error(engine: Engine) -> None:
    def write_and_fail() -> None:
        with task_transaction(durable=False) as connection:
            connection.execute(text("INSERT INTO rate_limit_override VALUES ('a_task', 1, now())"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_and_fail()

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM rate_limit_override")) == 0
