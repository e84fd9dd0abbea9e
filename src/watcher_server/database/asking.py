"""Functions of a plain connection, called within the session of a request."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession

Given = ParamSpec("Given")
Found = TypeVar("Found")


async def ask(
    session: AsyncSession,
    function: Callable[Concatenate[Connection, Given], Found],
    *args: Given.args,
    **kwargs: Given.kwargs,
) -> Found:
    """What the function returns; what it reads and writes belongs to the transaction of the session."""
    return await (await session.connection()).run_sync(function, *args, **kwargs)
