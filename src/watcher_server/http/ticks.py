"""How often uvicorn looks whether it is to end. By itself ten times a second: most of what an idle api does."""

import asyncio

import uvicorn

# The Date header of answers is as old as this at most, and a stop takes as long longer.
_TICK_SECONDS = 0.5


async def _main_loop(server: uvicorn.Server) -> None:
    # The first tick of ten is the one that renews the Date header.
    while not await server.on_tick(0):  # noqa: ASYNC110 - a signal sets a flag of uvicorn's, and no event
        await asyncio.sleep(_TICK_SECONDS)


def tick_seldom() -> None:
    """Have every server of uvicorn in this process, and in its forks, look twice a second."""
    uvicorn.Server.main_loop = _main_loop  # type: ignore[method-assign,assignment] # uvicorn has no setting for it
