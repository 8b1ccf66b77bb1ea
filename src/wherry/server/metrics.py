"""What the server counts, under Kubernetes' metric names, cheap where it is hot.

A request costs one dictionary look-up and three additions; the Prometheus client, whose import takes 50 ms, is only
loaded when somebody scrapes. `gauges` are asked at that moment.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from wherry.server.http import RequestInfo

BUCKETS_SECONDS = (
    *(0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0),
    *(3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0),
)
_LABELS = ["verb", "group", "version", "resource", "subresource", "scope", "dry_run", "component"]
_VERBS = {"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH"}
SERIES_MAX = 5000
"""Past it, new combinations of labels are counted as "other", so that strange requests cannot fill memory."""

Gauge = tuple[str, str, dict[str, str], float]
"""Name, help, labels, value."""
Key = tuple[str, str, str, str, str, str, bool]


@dataclass(slots=True)
class _Series:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_SECONDS) + 1))
    total_seconds: float = 0.0
    codes: dict[int, int] = field(default_factory=dict)


class Metrics:
    """The counters of one server."""

    def __init__(self, gauges: Callable[[], Iterable[Gauge]] = tuple) -> None:
        self._gauges = gauges
        self._series: dict[Key, _Series] = {}
        self.in_flight = {"readOnly": 0, "mutating": 0}

    def observe(self, info: RequestInfo, code: int, seconds: float, *, dry_run: bool = False) -> None:
        """Count one finished request."""
        scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
        key = (info.verb, info.api_group, info.api_version, info.resource, info.subresource, scope, dry_run)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= SERIES_MAX:
                key = ("other", "", "", "", "", "", False)
            series = self._series.setdefault(key, _Series())
        series.counts[bisect_left(BUCKETS_SECONDS, seconds)] += 1
        series.total_seconds += seconds
        series.codes[code] = series.codes.get(code, 0) + 1

    def expose(self) -> bytes:
        """Everything in Prometheus' text format."""
        from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry
        from prometheus_client.exposition import generate_latest

        registry = CollectorRegistry()
        for collector in (self, PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            registry.register(collector)
        return generate_latest(registry)

    def collect(self) -> Iterable[Any]:
        """The metric families, as Prometheus' registry asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        total = CounterMetricFamily(
            "apiserver_request", "Counter of apiserver requests by verb, resource and code.", labels=[*_LABELS, "code"]
        )
        duration = HistogramMetricFamily(
            "apiserver_request_duration_seconds", "Response latency distribution in seconds.", labels=_LABELS
        )
        for key, series in self._series.items():
            labels = _label_values(key)
            for code, count in series.codes.items():
                total.add_metric([*labels, str(code)], count)
            duration.add_metric(labels, _cumulative(series.counts), series.total_seconds)
        in_flight = GaugeMetricFamily(
            "apiserver_current_inflight_requests", "Requests being answered now.", labels=["request_kind"]
        )
        for kind, count in self.in_flight.items():
            in_flight.add_metric([kind], count)
        return [total, duration, in_flight, *self._collect_gauges(GaugeMetricFamily)]

    def _collect_gauges(self, family: Any) -> list[Any]:
        families: dict[str, Any] = {}
        for name, text, labels, value in self._gauges():
            made = families.setdefault(name, family(name, text, labels=list(labels)))
            made.add_metric(list(labels.values()), value)
        return list(families.values())


def _label_values(key: Key) -> list[str]:
    verb, group, version, resource, subresource, scope, dry_run = key
    shown = _VERBS.get(verb, verb.upper())
    return [shown, group, version, resource, subresource, scope, "All" if dry_run else "", "apiserver"]


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    running, buckets = 0, []
    for limit, count in zip((*map(str, BUCKETS_SECONDS), "+Inf"), counts, strict=True):
        running += count
        buckets.append((limit, float(running)))
    return buckets
