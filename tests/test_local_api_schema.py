"""O esquema que o aplicativo publica contra o que ele faz, com pedidos gerados."""

import pytest
from hypothesis import HealthCheck, settings
from local_api_server import KEY, echo, serving

schemathesis = pytest.importorskip("schemathesis")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api"), exchange=echo) as running:
        address = running.base_url.removesuffix("/v1")
        yield schemathesis.openapi.from_url(f"{address}/openapi.json", headers={"Authorization": f"Bearer {KEY}"})


schema = schemathesis.pytest.from_fixture("published")


@schema.parametrize()
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_app_does_what_its_schema_says(case):
    case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"})
