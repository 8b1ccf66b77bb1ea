"""Every reader sees every item in order, or is told that it has fallen behind."""

import asyncio

import pytest

from wherry.aio.fanout import Fanout, Overflow, Subscription


async def _collect(subscription: Subscription[int]) -> list[int]:
    return [item async for item in subscription]


async def test_each_reader_sees_all_items_from_its_start() -> None:
    fanout: Fanout[int] = Fanout()
    early = fanout.subscribe()
    fanout.publish(1)
    late = fanout.subscribe()
    fanout.publish(2)
    fanout.close()
    assert (await _collect(early), await _collect(late)) == ([1, 2], [2])


async def test_a_sleeping_reader_is_woken() -> None:
    fanout: Fanout[int] = Fanout()
    reader = asyncio.create_task(_collect(fanout.subscribe()))
    await asyncio.sleep(0)
    for item in range(3):
        fanout.publish(item)
    await asyncio.sleep(0)
    fanout.publish(3)
    fanout.close()
    assert await reader == [0, 1, 2, 3]


async def test_a_burst_comes_as_one_batch() -> None:
    fanout: Fanout[int] = Fanout()
    subscription = fanout.subscribe()
    reader = asyncio.create_task(subscription.batch())
    await asyncio.sleep(0)
    for item in range(3):
        fanout.publish(item)
    assert await reader == [0, 1, 2]
    subscription.close()
    assert await subscription.batch() == []


async def test_a_slow_reader_is_cut_off_and_the_others_go_on() -> None:
    fanout: Fanout[int] = Fanout(limit=2)
    slow, quick = fanout.subscribe(), fanout.subscribe(limit=10)
    for item in range(3):
        fanout.publish(item)
    with pytest.raises(Overflow):
        await anext(slow)
    assert len(fanout) == 1
    assert await quick.batch() == [0, 1, 2]


async def test_a_closed_reader_gets_nothing_more() -> None:
    fanout: Fanout[int] = Fanout()
    subscription = fanout.subscribe()
    fanout.publish(1)
    subscription.close()
    fanout.publish(2)
    assert await _collect(subscription) == [1]
    assert len(fanout) == 0


async def test_closing_wakes_sleeping_readers() -> None:
    fanout: Fanout[int] = Fanout()
    reader = asyncio.create_task(_collect(fanout.subscribe()))
    await asyncio.sleep(0)
    fanout.close()
    assert await reader == []
    assert await _collect(fanout.subscribe()) == []


async def test_a_cancelled_reader_can_read_on() -> None:
    fanout: Fanout[int] = Fanout()
    subscription = fanout.subscribe()
    reader = asyncio.create_task(subscription.batch())
    await asyncio.sleep(0)
    reader.cancel()
    await asyncio.gather(reader, return_exceptions=True)
    fanout.publish(1)
    assert await anext(subscription) == 1
