"""The fingerprint of a body."""

import subprocess
import sys

from watcher_server.kit.fingerprint import fingerprint

BODY = {"name": "orders", "metadata": {"b": [1, 2.5, None], "a": "é"}}


def test_it_is_the_same_in_another_process_and_under_another_hash_seed() -> None:
    program = f"from watcher_server.kit.fingerprint import fingerprint; print(fingerprint({BODY!r}))"
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert seen == {fingerprint(BODY)}


def test_the_order_of_keys_does_not_count_and_the_order_of_items_does() -> None:
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_it_never_changes_between_versions() -> None:
    assert fingerprint({"name": "orders"}) == "7295b599c16d19e33464f7543abe1ad0df3d690d6aca87788f4ec1c786eb1f82"
