"""The numbers of the advisory locks."""

from watcher_server.database import locks


def test_no_two_locks_have_the_same_number() -> None:
    numbers = [value for name, value in vars(locks).items() if name.endswith("_LOCK")]
    assert len(numbers) >= 3
    assert len(set(numbers)) == len(numbers)
