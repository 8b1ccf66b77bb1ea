"""What priority and fairness counts, under kube-apiserver's names: numbers in place, families when scraped."""

from collections.abc import Iterable
from typing import Any

from wherry.server.metrics import Histogram

WAIT_BUCKETS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
EXECUTION_BUCKETS = (0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0)
_LABELS = ["flow_schema", "priority_level"]


class SchemaStatistics:
    """Counters of one FlowSchema; regular requests and watches are told apart."""

    __slots__ = ("executing", "rejected", "seconds", "waiting", "waits")

    def __init__(self) -> None:
        self.executing = 0
        self.waiting = 0
        self.rejected: dict[str, int] = {}
        self.seconds = Histogram(EXECUTION_BUCKETS)
        self.waits = {True: Histogram(WAIT_BUCKETS), False: Histogram(WAIT_BUCKETS)}

    def served(self, seconds: float) -> None:
        """A request is done."""
        self.executing -= 1
        self.seconds.observe(seconds)

    def waited(self, seconds: float, executed: bool) -> None:
        """A request waited, and then was served or was not."""
        self.waits[executed].observe(seconds)

    def reject(self, reason: str) -> None:
        """A request was turned away."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class Statistics:
    """All schemas'."""

    def __init__(self) -> None:
        self._by_schema: dict[tuple[str, str, str], SchemaStatistics] = {}

    def of(self, schema: str, level: str, kind: str) -> SchemaStatistics:
        """The counters of a schema, for one kind of request: watch, mutating or readOnly."""
        return self._by_schema.setdefault((schema, level, kind), SchemaStatistics())

    def collect(self, levels: Iterable[Any]) -> list[Any]:
        """Metric families, `levels` being those in force."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        prefix = "apiserver_flowcontrol_"
        dispatched = CounterMetricFamily(
            f"{prefix}dispatched_requests",
            "Number of requests executed by API Priority and Fairness subsystem",
            labels=_LABELS,
        )
        rejected = CounterMetricFamily(
            f"{prefix}rejected_requests",
            "Number of requests rejected by API Priority and Fairness subsystem",
            labels=[*_LABELS, "reason"],
        )
        executing = GaugeMetricFamily(
            f"{prefix}current_executing_requests", "Requests in initial execution.", labels=_LABELS
        )
        waiting = GaugeMetricFamily(f"{prefix}current_inqueue_requests", "Requests in queues.", labels=_LABELS)
        waits = HistogramMetricFamily(
            f"{prefix}request_wait_duration_seconds",
            "Length of time a request spent waiting in its queue",
            labels=["execute", *_LABELS],
        )
        seconds = HistogramMetricFamily(
            f"{prefix}request_execution_seconds", "Duration of request execution.", labels=[*_LABELS, "type"]
        )
        in_flight = {"readOnly": 0, "mutating": 0}
        sums: dict[tuple[str, str], list[int]] = {}
        for (schema, level, kind), one in self._by_schema.items():
            labels = [schema, level]
            total = sums.setdefault((schema, level), [0, 0, 0])
            in_flight["mutating" if kind == "mutating" else "readOnly"] += one.executing
            total[0] += one.seconds.count + one.executing
            total[1] += one.executing
            total[2] += one.waiting
            for reason, count in one.rejected.items():
                rejected.add_metric([*labels, reason], count)
            for executed, histogram in one.waits.items():
                if histogram.count:
                    histogram.add_to(waits, [str(executed).lower(), *labels])
            one.seconds.add_to(seconds, [*labels, "watch" if kind == "watch" else "regular"])
        for labels_, counts in sums.items():
            families: Any = (dispatched, executing, waiting)
            for family, count in zip(families, counts, strict=True):
                family.add_metric(list(labels_), count)
        current = GaugeMetricFamily(
            "apiserver_current_inflight_requests", "Requests being answered now.", labels=["request_kind"]
        )
        for kind, count in in_flight.items():
            current.add_metric([kind], count)
        return [current, dispatched, rejected, executing, waiting, waits, seconds, *_of_levels(prefix, levels)]


def _of_levels(prefix: str, levels: Iterable[Any]) -> list[Any]:
    from prometheus_client.core import GaugeMetricFamily

    facts = {
        "nominal_limit_seats": "nominal",
        "lower_limit_seats": "minimum",
        "upper_limit_seats": "maximum",
        "current_limit_seats": "limit",
        "current_executing_seats": "in_use",
        "current_inqueue_seats": "waiting_seats",
    }
    families = []
    for suffix, attribute in facts.items():
        text = f"Seats of a priority level: {suffix.replace('_', ' ')}."
        family = GaugeMetricFamily(prefix + suffix, text, labels=["priority_level"])
        for level in levels:
            family.add_metric([level.name], getattr(level, attribute))
        families.append(family)
    return families
