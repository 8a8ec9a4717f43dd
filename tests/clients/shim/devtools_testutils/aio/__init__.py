"""The asynchronous decorator of the suites."""

import functools


def recorded_by_proxy_async(test):
    @functools.wraps(test)
    async def live(*arguments, **named):
        await test(*arguments, **named)

    return live


__all__ = ["recorded_by_proxy_async"]
