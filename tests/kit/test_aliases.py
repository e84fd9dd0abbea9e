"""One field under several spellings."""

from typing import Any

import pytest

from watcher_server.kit.fields import prefer_given


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ({"id": 1}, {"id": 1}),
        ({"pipeline_id": 2}, {"id": 2}),
        ({"id": 1, "pipeline_id": 2}, {"id": 1}),
        ({"id": None, "pipeline_id": 2}, {"id": 2}),
        ({"id": 0, "pipeline_id": 2}, {"id": 0}),
        ({"pipeline_id": None}, {"id": None}),
        ({"name": "orders"}, {}),
    ],
)
def test_the_first_value_given_counts(sent: dict[str, Any], read: dict[str, Any]) -> None:
    found = prefer_given(sent, "id", "pipeline_id")

    assert {key: value for key, value in found.items() if key == "id"} == read


@pytest.mark.parametrize("body", [None, [1], "text"])
def test_what_is_no_object_is_left_for_the_model_to_refuse(body: Any) -> None:
    assert prefer_given(body, "id", "pipeline_id") is body
