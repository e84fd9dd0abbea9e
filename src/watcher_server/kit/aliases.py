"""Fields that clients spell in more than one way."""

from typing import Any


def prefer_given(data: Any, name: str, *other_spellings: str) -> Any:
    """The body with the field under its own name: the first of its spellings that is not null.

    For a ``model_validator(mode="before")``. A null under one spelling does not hide a value under another; null under
    every spelling that is present stays an explicit null, and a body that has none of them stays as it is.
    """
    if not isinstance(data, dict):
        return data
    sent = [data[spelling] for spelling in (name, *other_spellings) if spelling in data]
    if not sent:
        return data
    return {**data, name: next((value for value in sent if value is not None), None)}
