"""What the service tells Prometheus of itself. No text, and nothing of one, is among it."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

_SECONDS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 4.096, 16.384)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The figures of one service. `queued` says how many texts wait or are being read."""

    def __init__(self, *, queued: Callable[[], int]) -> None:
        registry = self._registry = CollectorRegistry()
        name = "plimsoll_inference_{}".format
        self._seconds = Histogram(
            name("request_seconds"),
            "From a request's headers to its answer, by path and status.",
            ["path", "status"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._answered: dict[tuple[str, int], Histogram] = {}
        self._batch = Histogram(
            name("batch_texts"), "How many texts were read together.", buckets=_TEXTS, registry=registry
        )
        self._models = Counter(
            name("models"), "Models that were to answer, by whether they could.", ["outcome"], registry=registry
        )
        self._version = Gauge(name("model"), "1 for the version that answers.", ["version"], registry=registry)
        Gauge(name("queued_texts"), "Texts that wait or are being read.", registry=registry).set_function(queued)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """A request was answered."""
        known = self._answered.get((path, status))
        if known is None:
            known = self._answered[path, status] = self._seconds.labels(path, str(status))
        known.observe(seconds)

    def batched(self, texts: int) -> None:
        """So many texts were read together."""
        self._batch.observe(texts)

    def loaded(self, version: str) -> None:
        """This version answers from now on."""
        self._models.labels("loaded").inc()
        self._version.clear()
        self._version.labels(version).set(1)

    def rejected(self) -> None:
        """A model was to answer, and could not be loaded."""
        self._models.labels("rejected").inc()

    def written(self) -> bytes:
        """All of it as Prometheus reads it."""
        return generate_latest(self._registry)
