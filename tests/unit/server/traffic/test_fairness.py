"""KEP-1040 without a server: classification, seats, queues in virtual time, borrowing."""

import asyncio

import pytest

from wherry.aio.clock import LoopClock, SystemClock
from wherry.api.flowcontrol_v1 import PriorityLevelConfiguration
from wherry.server.fairness import suggested
from wherry.server.fairness.fairness import QUEUE_WAIT_SECONDS, Fairness, Limits
from wherry.server.fairness.level import Seat
from wherry.server.http import Refusal, Request, UserInfo
from wherry.server.routes import request_info
from wherry.sim.loop import run_virtual

PODS = "/api/v1/namespaces/default/pods"
LEASE = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/x"


def fairness(seats: int = 600, sizes: tuple[int, int] = (0, 0)) -> Fairness:
    made = Fairness(SystemClock(), lambda request: sizes, seats)
    for schema in suggested.schemas():
        made.schema_changed(None, schema)
    for level in suggested.levels():
        made.level_changed(None, level)
    return made


def ask(user: str, method: str = "GET", path: str = f"{PODS}/x", *groups: str, query: str = "") -> Request:
    parameters = {"limit": [query]} if query else {}
    made = Request(method, path, parameters, user=UserInfo(user, groups=[*groups, "system:authenticated"]))
    made.info = request_info(made)
    return made


def entered(gate: Fairness, request: Request) -> Seat:
    seat = gate.enter(request)
    assert seat is not None
    return seat


@pytest.mark.parametrize(
    ("request_", "schema", "level"),
    [
        (ask("admin", "GET", PODS, "system:masters"), "exempt", "exempt"),
        (ask("any", "GET", "/readyz"), "probes", "exempt"),
        (ask("system:kube-scheduler", "PUT", LEASE), "system-leader-election", "leader-election"),
        (ask("system:kube-scheduler", "GET", PODS), "kube-scheduler", "workload-high"),
        (ask("system:node:a", "PATCH", "/api/v1/nodes/a/status", "system:nodes"), "system-node-high", "node-high"),
        (ask("system:node:a", "GET", PODS, "system:nodes"), "system-nodes", "system"),
        (ask("system:serviceaccount:kube-system:a", "GET", PODS), "kube-system-service-accounts", "workload-high"),
        (ask("system:serviceaccount:x:a", "GET", PODS, "system:serviceaccounts"), "service-accounts", "workload-low"),
        (ask("bob"), "global-default", "global-default"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_request_belongs_to_the_first_schema_that_matches(request_: Request, schema: str, level: str) -> None:
    flow = entered(fairness(), request_).flow
    assert (flow.schema, flow.level.name) == (schema, level)


def test_shares_become_seats_as_in_kube_apiserver() -> None:
    gate = fairness()
    entered(gate, ask("bob"))
    seats = {level.name: (level.nominal, level.minimum) for level in gate.levels.values()}
    assert seats["system"] == (74, 50)
    assert seats["workload-low"] == (245, 25)
    assert seats["catch-all"] == (13, 13)
    assert seats["exempt"] == (0, 0)


def test_streams_are_not_limited_and_watches_take_one_seat() -> None:
    gate = fairness()
    assert gate.enter(ask("bob", "GET", f"{PODS}/x/log")) is None
    assert gate.enter(ask("bob", "POST", f"{PODS}/x/exec")) is None
    watch = ask("bob", "GET", PODS)
    watch.query["watch"] = ["1"]
    watch.info = request_info(watch)
    assert entered(gate, watch).width == 1


@pytest.mark.parametrize(
    ("count", "size", "limit", "width"), [(10, 1000, "", 1), (2000, 1000, "", 8), (2000, 1000, "150", 2)]
)
def test_a_list_takes_a_seat_per_hundred_kilobytes(count: int, size: int, limit: str, width: int) -> None:
    seat = entered(fairness(600, (count, size)), ask("bob", "GET", PODS, query=limit))
    assert seat.width == width


def only(shares: int, queues: int = 4, hand: int = 1, length: int = 50) -> list[PriorityLevelConfiguration]:
    found = [item for item in suggested.levels() if item.metadata.name in ("exempt", "global-default", "workload-low")]
    for item in found:
        limited = item.spec.limited
        if limited is not None and limited.limitResponse.queuing is not None:
            limited.nominalConcurrencyShares = shares
            limited.lendablePercent = limited.borrowingLimitPercent = 0
            queuing = limited.limitResponse.queuing
            queuing.queues, queuing.handSize, queuing.queueLengthLimit = queues, hand, length
    return found


def narrow(clock: LoopClock, **queuing: int) -> Fairness:
    """One seat for ordinary users."""
    made = Fairness(clock, lambda request: (0, 0), 2)
    for schema in suggested.schemas():
        if schema.metadata.name in ("exempt", "global-default", "service-accounts"):
            made.schema_changed(None, schema)
    for level in only(10, **queuing):
        made.level_changed(None, level)
    return made


def test_who_asks_little_overtakes_who_asks_much() -> None:
    async def main() -> list[str]:
        gate = narrow(LoopClock(), queues=64, hand=1)
        served: list[str] = []

        async def one(user: str) -> None:
            seat = entered(gate, ask(user))
            if seat.granted is not None:
                await gate.wait(seat)
            await asyncio.sleep(1)
            served.append(user)
            gate.leave(seat, 1.0)

        tasks = [asyncio.create_task(one("elephant")) for _ in range(8)]
        await asyncio.sleep(0.5)
        tasks += [asyncio.create_task(one("mouse"))]
        await asyncio.gather(*tasks)
        assert gate.levels["global-default"].demand == 0
        return served

    served = run_virtual(main())
    assert served.index("mouse") <= 2, served


def test_a_queue_that_is_full_turns_away() -> None:
    async def main() -> None:
        gate = narrow(LoopClock(), queues=1, hand=1, length=2)
        seats = [entered(gate, ask("bob")) for _ in range(3)]
        with pytest.raises(Refusal) as refused:
            gate.enter(ask("bob"))
        answer = refused.value.response
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        assert answer.body == b"Too many requests, please try again later.\n"
        gate.leave(seats[0], 1.0)
        await gate.wait(seats[1])
        rejected = gate.statistics.of("global-default", "global-default", "readOnly").rejected
        assert rejected == {"queue-full": 1}

    run_virtual(main())


def test_nobody_waits_longer_than_a_quarter_of_the_request_timeout() -> None:
    async def main() -> None:
        clock = LoopClock()
        gate = narrow(clock)
        entered(gate, ask("bob"))
        waiting = entered(gate, ask("bob"))
        with pytest.raises(Refusal):
            await gate.wait(waiting)
        assert clock.monotonic() == pytest.approx(QUEUE_WAIT_SECONDS, abs=0.1)
        assert gate.levels["global-default"].waiting == 0

    run_virtual(main())


def test_who_gives_up_waiting_leaves_nothing_behind() -> None:
    async def main() -> None:
        gate = narrow(LoopClock())
        held = entered(gate, ask("bob"))
        waiting = entered(gate, ask("bob"))
        task = asyncio.create_task(gate.wait(waiting))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        gate.leave(held, 1.0)
        assert gate.levels["global-default"].demand == 0

    run_virtual(main())


def test_idle_seats_are_lent_and_come_back() -> None:
    gate = Fairness(SystemClock(), lambda request: (0, 0), 100)
    for schema in suggested.schemas():
        gate.schema_changed(None, schema)
    for level in suggested.levels():
        gate.level_changed(None, level)

    async def main() -> None:
        held = [entered(gate, ask("bob")) for _ in range(60)]
        level = gate.levels["global-default"]
        assert level.nominal == 9
        assert level.limit > level.nominal
        assert level.in_use == level.limit
        lender = gate.levels["workload-low"]
        assert lender.limit < lender.nominal
        account = ask("system:serviceaccount:x:a", "GET", f"{PODS}/x", "system:serviceaccounts")
        taken = [gate.enter(account) for _ in range(lender.nominal)]
        assert all(seat is not None and seat.granted is None for seat in taken)
        assert lender.limit == lender.nominal
        assert held

    asyncio.run(main())


def test_a_hand_is_dealt_of_different_queues_and_always_the_same() -> None:
    gate = fairness()
    seat = entered(gate, ask("bob"))
    assert len(set(seat.flow.hand)) == 6
    assert seat.flow.hand == seat.flow.level.deal("global-default", "bob") != seat.flow.level.deal("x", "bob")


def test_without_fairness_reads_and_writes_have_limits_of_their_own() -> None:
    gate = Limits(1, 1)
    first = gate.enter(ask("bob"))
    assert first is not None
    with pytest.raises(Refusal):
        gate.enter(ask("bob"))
    assert gate.enter(ask("admin", "GET", PODS, "system:masters")) is not None
    assert gate.enter(ask("bob", "POST", PODS)) is not None
    gate.leave(first, 0.1)
