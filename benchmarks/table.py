"""What a measurement is held against, and the table it is printed in.

`REAL` is Kubernetes 1.36.2 with etcd 3.6 (synced writes, TLS, RBAC, bearer token) on a machine of 2 cores and 24 GiB;
`BAR` is what Wherry is to reach there. The machine is shared and noisy: compare within one run, quote ratios.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """One line of the table; the unit says which way is better: rates should be high, everything else low."""

    title: str
    unit: str
    real: float | None = None
    bar: float | None = None

    def ratio(self, value: float) -> float:
        """How many times as good as the bar; 1 and above reaches it."""
        assert self.bar is not None
        if self.unit == "/s":
            return value / self.bar
        return self.bar / value if value else float("inf")


COLD_CONTROL_PLANE = Measure(
    "cold start, no containers: process start → default service account readable", "s", 2.9, 1.0
)
COLD_CONTAINERD = Measure("cold start with containerd: → node Ready, DNS answering", "s", 15.0, 4.0)
IDLE_MEMORY = Measure("idle memory of the control plane (PSS)", "MB", 487, 120)
IDLE_MEMORY_NODE = Measure("idle memory with kubelet and proxy of one node, without containerd (PSS)", "MB", 640, 160)
IDLE_CPU = Measure("idle CPU", "% of a core", 2.2, 1.0)
GET = Measure("GET one ConfigMap, 16 connections", "/s", 4520, 9000)
CREATE = Measure("create ConfigMaps, 32 connections, every one synced", "/s", 2164, 2500)
PATCH = Measure("merge-patch over 200 ConfigMaps, 16 connections", "/s", 1422, 1500)
LIST = Measure("LIST 21,900 ConfigMaps, 2 connections", "/s", 13.7, 25)
LIST_LIMIT = Measure("LIST limit=500, 4 connections", "/s", 303, 900)
MEMORY_AFTER = Measure("memory afterwards (PSS)", "MB", 755, 250)
FANOUT = Measure("500 watchers × 200 creates: deliveries", "/s", 37200, 37000)
FANOUT_DELAY = Measure("the same: create sent → event received, p50", "ms", 16)
WATCH_DELAY = Measure("one watcher: create sent → event received, p50", "ms", 2.1, 2)
ONE_POD = Measure("one pod, create → Ready, p50 of 20", "s", 0.58, 0.60)
TWENTY_PODS = Measure("20 pods at once, create → Ready, p50", "s", 2.7, 3.0)
DEPLOYMENT = Measure("Deployment of 60 replicas → rolled out", "s", 7.6, 8.0)


class Table:
    """Prints a line as soon as it is measured."""

    def __init__(self) -> None:
        print(f"{'what':<78} {'measured':>14} {'real':>8} {'bar':>8} {'× bar':>6}")

    def add(self, measure: Measure, value: float, note: str = "") -> None:
        """One measured value."""
        digits = 0 if value >= 100 else 1 if value >= 10 else 2
        shown = f"{value:,.{digits}f} {measure.unit}"
        real = "" if measure.real is None else f"{measure.real:,g}"
        bar = "" if measure.bar is None else f"{measure.bar:,g}"
        ratio = "" if measure.bar is None else f"{measure.ratio(value):.2f}"
        print(f"{measure.title:<78} {shown:>14} {real:>8} {bar:>8} {ratio:>6}  {note}".rstrip(), flush=True)


def median(values: list[float]) -> float:
    """The p50."""
    return sorted(values)[len(values) // 2]
