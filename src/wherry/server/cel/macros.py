"""The macros over lists and maps, as loops: each round pays its constant cost before it runs.

all and exists absorb errors as && and || do: an element that decides outweighs one that fails.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from wherry.server.cel.values import CelError, CostExceeded

Frame = list[Any]
Run = Callable[[Frame], Any]
ROUND_COST = 2
"""What a round costs beside its body: the element, and the macro's own condition."""


def always(frame: Frame) -> bool:
    """No condition: every element counts."""
    return True


@dataclass(frozen=True, slots=True)
class Body:
    """What runs in each round, and where the round's variables stand."""

    condition: Run
    body: Run
    slot: int
    variables: int
    cost: int


def loop(macro: str, ranged: Run, body: Body) -> Run:
    """The closure of a macro."""
    return _MACROS[macro](ranged, body)


def _rounds(frame: Frame, ranged: Run, body: Body) -> Iterator[Any]:
    """Sets the variables of each round; yields the key (or index) where the macro has two variables."""
    values = ranged(frame)
    slot, cost = body.slot, body.cost
    if body.variables == 1:
        if not isinstance(values, list | dict):
            raise CelError("no such overload")
        for item in values:
            frame[0] -= cost
            if frame[0] < 0:
                raise CostExceeded
            frame[slot] = item
            yield item
        return
    pairs = values.items() if isinstance(values, dict) else enumerate(values) if isinstance(values, list) else None
    if pairs is None:
        raise CelError("no such overload")
    for key, item in pairs:
        frame[0] -= cost
        if frame[0] < 0:
            raise CostExceeded
        frame[slot], frame[slot + 1] = key, item
        yield key


def _boolean(value: Any) -> bool:
    if value is True or value is False:
        return bool(value)
    raise CelError("no such overload")


def _deciding(decides: bool) -> Callable[[Run, Body], Run]:
    def make(ranged: Run, body: Body) -> Run:
        test = body.body

        def run(frame: Frame) -> bool:
            failed: CelError | None = None
            for _ in _rounds(frame, ranged, body):
                try:
                    if _boolean(test(frame)) is decides:
                        return decides
                except CelError as error:
                    failed = error
            if failed is not None:
                raise failed
            return not decides

        return run

    return make


def _exists_one(ranged: Run, body: Body) -> Run:
    def run(frame: Frame) -> bool:
        return sum(_boolean(body.body(frame)) for _ in _rounds(frame, ranged, body)) == 1

    return run


def _filter(ranged: Run, body: Body) -> Run:
    def run(frame: Frame) -> list[Any]:
        return [item for item in _rounds(frame, ranged, body) if _boolean(body.body(frame))]

    return run


def _map(ranged: Run, body: Body) -> Run:
    def run(frame: Frame) -> list[Any]:
        return [body.body(frame) for _ in _rounds(frame, ranged, body) if _boolean(body.condition(frame))]

    return run


def _transform_map(ranged: Run, body: Body) -> Run:
    def run(frame: Frame) -> dict[Any, Any]:
        rounds = _rounds(frame, ranged, body)
        return {key: body.body(frame) for key in rounds if _boolean(body.condition(frame))}

    return run


def _transform_entries(ranged: Run, body: Body) -> Run:
    def run(frame: Frame) -> dict[Any, Any]:
        made: dict[Any, Any] = {}
        for _ in _rounds(frame, ranged, body):
            if not _boolean(body.condition(frame)):
                continue
            entries = body.body(frame)
            if not isinstance(entries, dict):
                raise CelError("no such overload")
            for key, value in entries.items():
                if key in made:
                    raise CelError(f"insert failed: key {key} already exists")
                made[key] = value
        return made

    return run


_MACROS: dict[str, Callable[[Run, Body], Run]] = {
    "all": _deciding(False),
    "exists": _deciding(True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
    "transformList": _map,
    "transformMap": _transform_map,
    "transformMapEntry": _transform_entries,
}
