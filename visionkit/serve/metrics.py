"""What a server counts, for Prometheus to collect."""

from collections.abc import Callable

from visionkit.types import DataError

# Seconds; a small model takes milliseconds, a large one on a CPU many seconds.
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one server, in a registry of their own.

    Args:
        waiting: how many images wait for the model.

    Raises:
        DataError: prometheus_client is not installed.
    """

    def __init__(self, waiting: Callable[[], int]):
        try:
            import prometheus_client as prometheus
        except ModuleNotFoundError:
            raise DataError(
                "prometheus_client is not installed; it comes with visionkit's extra serve: "
                "pip install 'keras-visionkit[serve]'"
            ) from None
        self._registry = registry = prometheus.CollectorRegistry()
        self._text, self.content_type = prometheus.generate_latest, prometheus.CONTENT_TYPE_LATEST
        prometheus.ProcessCollector(registry=registry)  # memory, processor time and open files, on Linux
        self._requests = prometheus.Counter(
            "visionkit_requests", "Requests that were answered.", ["path", "status"], registry=registry
        )
        self._errors = prometheus.Counter(
            "visionkit_errors", "Requests that were answered with 400 or above.", ["path", "status"], registry=registry
        )
        self._seconds = prometheus.Histogram(
            "visionkit_request_seconds",
            "Seconds that a thread took to answer a request.",
            ["path"],
            registry=registry,
            buckets=BUCKETS,
        )
        images = prometheus.Gauge("visionkit_waiting_images", "Images that wait for the model.", registry=registry)
        images.set_function(waiting)
        self._connections = prometheus.Gauge("visionkit_connections", "Open connections.", registry=registry)
        self._queue = prometheus.Gauge(
            "visionkit_waiting_requests", "Requests that wait for a thread.", registry=registry
        )

    def count(self, path: str, status: int, seconds: float | None = None) -> None:
        """Counts an answer.

        Args:
            path: one of the few that exist; "-" is for all others and for what is no request.
            status: of the answer.
            seconds: that it took.
        """
        self._requests.labels(path, status).inc()
        if status >= 400:
            self._errors.labels(path, status).inc()
        if seconds is not None:
            self._seconds.labels(path).observe(seconds)

    def watch(self, connections: Callable[[], int], queue: Callable[[], int]) -> None:
        """Reports what the functions return as the numbers of open connections and of requests without a thread."""
        self._connections.set_function(connections)
        self._queue.set_function(queue)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return self._text(self._registry)
