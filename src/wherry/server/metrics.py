"""What the server counts, under Kubernetes' metric names, cheap where it is hot.

A request costs one dictionary look-up and three additions; the Prometheus client, whose import takes 50 ms, is only
loaded when somebody scrapes. `gauges` are asked at that moment.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
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


class Histogram:
    """How often which values were seen, in buckets."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """How many values there were."""
        return sum(self.counts)

    def add_to(self, family: Any, labels: list[str]) -> None:
        """Add to a HistogramMetricFamily."""
        running, buckets = 0, []
        for limit, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            running += count
            buckets.append((limit, float(running)))
        family.add_metric(labels, buckets, self.total)


class _Series:
    __slots__ = ("codes", "seconds")

    def __init__(self) -> None:
        self.seconds = Histogram(BUCKETS_SECONDS)
        self.codes: dict[int, int] = {}


class Metrics:
    """The counters of one server."""

    def __init__(self, gauges: Callable[[], Iterable[Gauge]] = tuple) -> None:
        self._gauges = gauges
        self._series: dict[Key, _Series] = {}
        self.families: list[Callable[[], Iterable[Any]]] = []
        """Asked for further metric families when somebody scrapes."""

    def observe(self, info: RequestInfo, code: int, seconds: float, *, dry_run: bool = False) -> None:
        """Count one finished request."""
        scope = "resource" if info.name else "namespace" if info.namespace else "cluster"
        key = (info.verb, info.api_group, info.api_version, info.resource, info.subresource, scope, dry_run)
        series = self._series.get(key)
        if series is None:
            if len(self._series) >= SERIES_MAX:
                key = ("other", "", "", "", "", "", False)
            series = self._series.setdefault(key, _Series())
        series.seconds.observe(seconds)
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
            series.seconds.add_to(duration, labels)
        further = [family for collect in self.families for family in collect()]
        return [total, duration, *further, *self._collect_gauges(GaugeMetricFamily)]

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
