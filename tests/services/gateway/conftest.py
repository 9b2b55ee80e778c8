from collections.abc import Iterator

import pytest

from tests.services.gateway.serving import Gateway, Upstream, gateway, served


@pytest.fixture(scope="module")
def _upstream() -> Upstream:
    return Upstream()


@pytest.fixture(scope="module")
def upstream_url(_upstream: Upstream) -> Iterator[str]:
    with served(_upstream.app) as url:
        yield url


@pytest.fixture
def upstream(_upstream: Upstream) -> Upstream:
    _upstream.does, _upstream.asked, _upstream.keys = {}, [], []
    return _upstream


@pytest.fixture(scope="module")
def served_gateway(tmp_path_factory: pytest.TempPathFactory, upstream_url: str) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("gateway"), upstream_url, timeout_s=0.3) as running:
        yield running
