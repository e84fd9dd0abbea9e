"""Making, listing and revoking tokens."""

import pytest
from sqlalchemy import Engine, text

from watcher_server.auth import service


def test_a_token_is_stored_only_as_its_hash(engine: Engine) -> None:
    with engine.begin() as connection:
        token = service.create_token(connection, "nightly", "write")
        stored = connection.execute(text("SELECT row_to_json(api_token)::text FROM api_token")).scalar_one()

    assert token.startswith("watcher_")
    assert len(token) > 40
    assert token not in stored
    assert service.digest(token).hex() in stored


def test_a_listed_token_says_who_and_what_but_not_the_token(engine: Engine) -> None:
    with engine.begin() as connection:
        service.create_token(connection, "zoe", "admin")
        service.create_token(connection, "ana", "read")
        listed = service.list_tokens(connection)

    assert [(token.name, token.scope, token.last_used_at) for token in listed] == [
        ("ana", "read", None),
        ("zoe", "admin", None),
    ]
    assert listed[0].created_at.utcoffset() is not None


def test_a_name_is_taken_once(engine: Engine) -> None:
    with engine.begin() as connection:
        service.create_token(connection, "nightly", "write")
        with pytest.raises(service.TokenNameTakenError):
            service.create_token(connection, "nightly", "read")
        assert len(service.list_tokens(connection)) == 1


@pytest.mark.parametrize("name", ["", "x" * 151, "a\x00b", "a\nb"])
def test_a_name_that_cannot_be_kept_is_refused(engine: Engine, name: str) -> None:
    with engine.begin() as connection, pytest.raises(service.InvalidTokenNameError, match="1 to 150"):
        service.create_token(connection, name, "write")


def test_a_revoked_token_is_gone(engine: Engine) -> None:
    with engine.begin() as connection:
        token = service.create_token(connection, "nightly", "write")
        assert service.has_tokens(connection)
        assert service.find_token(connection, token) is not None

        assert service.revoke_token(connection, "nightly") is True
        assert service.revoke_token(connection, "nightly") is False

        assert not service.has_tokens(connection)
        assert service.find_token(connection, token) is None


def test_use_is_stored_at_most_once_a_minute(engine: Engine) -> None:
    with engine.begin() as connection:
        service.create_token(connection, "nightly", "write")
        service.record_use(connection, {1: 1_700_000_000.0})
        service.record_use(connection, {1: 1_700_000_030.0})
        after_half_a_minute = service.list_tokens(connection)[0].last_used_at
        service.record_use(connection, {1: 1_700_000_090.0})
        after_more = service.list_tokens(connection)[0].last_used_at

    assert after_half_a_minute is not None
    assert after_more is not None
    assert after_half_a_minute.timestamp() == 1_700_000_000
    assert after_more.timestamp() == 1_700_000_090
