"""The record behind `wherry why`: true, named, and bounded."""

from datetime import UTC, datetime

from wherry.scheduler.why import NODES_NAMED_MAX, Book
from wherry.testing.builders import node

from .worlds import decided, pod, world

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_placed_pod_is_explained_by_the_best_nodes_and_their_scores() -> None:
    nodes = world(
        [node("small", capacity={"cpu": 2}), node("large", capacity={"cpu": 64}), node("none", capacity={"cpu": 1})]
    )
    book, decision = Book(), decided(pod(requests={"cpu": 2, "memory": "1Gi"}), nodes)
    book.record(("default", "new"), decision, nodes, NOW)
    page = book.about(("default", "new"))
    assert page is not None and page.node_name == "large" and page.message == ""
    assert [score.node_name for score in page.best] == ["large", "small"]
    assert page.best[0].total == sum(page.best[0].by_plugin.values()) > page.best[1].total
    assert [(reason.plugin, reason.text, reason.some_nodes) for reason in page.reasons] == [
        ("NodeResourcesFit", "Insufficient cpu", ["none"])
    ]


def test_a_pending_pod_is_explained_by_reasons_that_name_some_nodes() -> None:
    nodes = world([node(f"n{number}") for number in range(50)])
    book, decision = Book(), decided(pod(requests={"cpu": 99}), nodes)
    for _ in range(3):
        book.record(("default", "new"), decision, nodes, NOW)
    page = book.about(("default", "new"))
    assert page is not None and page.node_name is None and page.attempts == 3
    assert page.reasons[0].node_count == 50 and len(page.reasons[0].some_nodes) == NODES_NAMED_MAX
    assert page.message.startswith("0/50 nodes are available: 50 Insufficient cpu.")


def test_only_the_pods_decided_last_are_kept() -> None:
    nodes = world([node("a")])
    book, decision = Book(pods_max=3), decided(pod(), nodes)
    for number in range(10):
        book.record(("default", f"p{number}"), decision, nodes, NOW)
    assert len(book) == 3 and book.about(("default", "p9")) is not None and book.about(("default", "p6")) is None
    book.forget(("default", "p9"))
    assert len(book) == 2
