"""O esquema que o aplicativo publica contra o que ele faz, com pedidos gerados; PROFUNDIDADE diz quantos."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from local_api_server import KEY, serving

from local_finetune_api import Settings, create_app

schemathesis = pytest.importorskip("schemathesis")
checks = pytest.importorskip("schemathesis.specs.openapi.checks")
SCHEMA = schemathesis.openapi.from_dict(create_app(Settings(Path("nunca-usada"), KEY)).openapi())
OPERATIONS = [result.ok() for result in SCHEMA.get_all_operations()]
EXAMPLES = int(os.environ.get("PROFUNDIDADE", "3"))


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("api")) as running:
        yield running.base_url.removesuffix("/v1")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_the_app_does_what_its_schema_says(address, operation, mode):
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(st.data())
    def check(data):
        case = data.draw(operation.as_strategy(generation_mode=mode))
        headers = {"Authorization": f"Bearer {KEY}"}
        case.call_and_validate(base_url=address, headers=headers, excluded_checks=excluded(operation))

    try:
        check()
    except Unsatisfiable:
        assert mode is schemathesis.GenerationMode.NEGATIVE  # qualquer texto serve de id: nada viola o esquema


def excluded(operation) -> list:
    """O esquema não diz que o modelo e o arquivo têm de existir; num multipart, null é o texto de quatro letras."""
    multipart = [checks.negative_data_rejection] if operation.label == "POST /v1/files" else []
    return [checks.positive_data_acceptance, *multipart]
