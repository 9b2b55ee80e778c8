from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.services.gateway.serving import Gateway, Upstream, gateway, served


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
def upstream_url(upstream: Upstream) -> Iterator[str]:
    with served(upstream.app) as url:
        yield url


@pytest.fixture
def served_gateway(tmp_path: Path, upstream_url: str) -> Iterator[Gateway]:
    with gateway(tmp_path, upstream_url, timeout_s=0.3) as running:
        yield running
