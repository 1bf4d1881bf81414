"""Um treino por arquivo, modelo e hiperparâmetros: acha o que já existe antes de criar outro, e o segue até o fim."""

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import openai

from .. import progress
from ..errors import InputError, RunMismatchError, without_key
from ..portuguese import number
from ..records import read_json, sha256_file, write_json
from . import budget, validation
from .budget import Terms
from .failures import explain_job, retrying
from .providers import LOOPBACK, Provider

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob

STATE = "trabalho.json"
MARK = "impressao"
ENDED_BADLY = ("failed", "cancelled")
# Como uma mensagem cita o que mudou.
CITED = {
    "provider": "`provider`",
    "model": "`model`",
    "n_epochs": "`epochs`",
    "learning_rate_multiplier": "`multiplier`",
    "training_sha256": "arquivo de treino",
    "validation_sha256": "arquivo de validação",
}


@dataclass(frozen=True)
class Request:
    """O treino que se pede: os arquivos, o modelo (vazio: o primeiro do provedor) e os hiperparâmetros.

    ``multiplier`` multiplica a taxa de aprendizado do provedor; ``suffix`` (até 64 letras) entra no nome do modelo.
    """

    training_file: Path
    validation_file: Path | None = None
    model: str = ""
    n_epochs: int | str = "auto"
    batch_size: int | str = "auto"
    multiplier: float | str = "auto"
    seed: int = 3407
    suffix: str = ""

    @property
    def files(self) -> list[Path]:
        """Os arquivos a enviar, na ordem treino, validação."""
        return [Path(path) for path in (self.training_file, self.validation_file) if path]


def find_or_create(
    client: "OpenAI", folder: Path | str, request: Request, *, provider: Provider, terms: Terms | None = None
) -> "FineTuningJob":
    """Devolve o treino deste pedido: o anotado em ``folder``, o da conta ou um novo; nunca paga duas vezes.

    Só cria se a estimativa couber em ``terms.budget_usd`` (provedor pago); sem orçamento não envia nada. Um treino que
    falhou ou foi cancelado só é refeito com ``terms.again``. InputError: arquivo inválido ou orçamento;
    RunMismatchError: a pasta já tem outro treino; MachineError: conta, rede ou serviço.
    """
    terms, model = terms or Terms(), request.model or provider.default_model
    identity = _identity(provider, model, request)
    noted = _noted(client, Path(folder), identity)
    if noted and not (terms.again and noted.status in ENDED_BADLY):
        return noted
    validation.check(request.training_file)
    if request.validation_file:
        validation.check(request.validation_file, minimum=False)
    if provider.paid:
        expected = budget.estimate(request.training_file, model, request.n_epochs, provider=provider, terms=terms)
        budget.check_budget(expected, provider, terms.budget_usd)
    mark = _fingerprint(identity)
    listed = _listed(client, mark)
    alive = [job for job in listed if not (terms.again and job.status in ENDED_BADLY)]
    job = alive[0] if alive else _create(client, provider, request.files, identity, attempt=len(listed))
    write_json(Path(folder) / STATE, {"fingerprint": mark, "job_id": job.id, "request": identity})
    return job


def follow(
    client: "OpenAI",
    job_id: str,
    *,
    poll_seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> "FineTuningJob":
    """Mostra o treino até terminar e o devolve; pode ser chamado de novo a qualquer momento.

    InputError com o próximo passo se ele falhou ou foi cancelado (os arquivos de um treino falho são apagados);
    MachineError se a rede não volta. Interromper a célula não interrompe o treino.
    """
    pause = poll_seconds or (1.0 if client.base_url.host in LOOPBACK else 15.0)
    seen: set[str] = set()
    with progress.bar("treinando", "passos") as bar:
        while True:
            job = retrying(lambda: client.fine_tuning.jobs.retrieve(job_id), sleep=sleep)
            _show(bar, _new_events(client, job_id, seen, sleep), job, client.api_key)
            if job.status in ("succeeded", *ENDED_BADLY):
                break
            bar.refresh()
            sleep(pause)
    if job.status == "succeeded":
        return job
    if job.status == "failed" and (job.metadata or {}).get(MARK):  # só os arquivos que este pacote enviou
        discard_files(client, [job.training_file, job.validation_file])
    raise explain_job(job, client.api_key)


def cancel(client: "OpenAI", job_id: str) -> "FineTuningJob":
    """Cancela um treino em andamento e devolve o estado; um que já terminou volta como está."""
    job = retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))
    if job.status in ("succeeded", *ENDED_BADLY):
        return job
    try:
        return retrying(lambda: client.fine_tuning.jobs.cancel(job_id))
    except InputError:
        return retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))  # terminou entre uma chamada e outra


def discard_files(client: "OpenAI", file_ids: Iterable[str | None]) -> None:
    """Apaga arquivos enviados por um treino recusado; um que já não existe não é erro."""
    for file_id in filter(None, file_ids):
        try:
            retrying(partial(client.files.delete, file_id))
        except InputError:
            continue


def _identity(provider: Provider, model: str, request: Request) -> dict:
    """O que define um treino; os caminhos dos arquivos não contam, o conteúdo deles sim."""
    hashes = [sha256_file(path) if path.is_file() else "" for path in request.files] + [""]
    return {
        "provider": provider.name,
        "model": model,
        "training_sha256": hashes[0],
        "validation_sha256": hashes[1],
        "n_epochs": request.n_epochs,
        "batch_size": request.batch_size,
        "learning_rate_multiplier": request.multiplier,
        "seed": request.seed,
        "suffix": request.suffix,
    }


def _fingerprint(identity: dict) -> str:
    """Dezesseis dígitos que mudam com os arquivos, o modelo, o provedor ou qualquer hiperparâmetro."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def _noted(client, folder: Path, identity: dict):
    """O treino que ``trabalho.json`` anota; None se não há ou se a API (local, nova) não o conhece."""
    path = folder / STATE
    if not path.is_file():
        return None
    state = read_json(path)
    if state["fingerprint"] != _fingerprint(identity):
        known = state["request"]
        listed = "; ".join(
            f"{CITED.get(key, key)}: era {known.get(key)!r}, agora {value!r}"
            for key, value in identity.items()
            if known.get(key) != value
        )
        raise RunMismatchError(
            f"{path} anota outro treino ({listed}). Volte aos parâmetros de antes, dê outro nome à rodada (`run`) ou "
            "apague esse arquivo."
        )
    try:
        return retrying(lambda: client.fine_tuning.jobs.retrieve(state["job_id"]))
    except InputError:
        return None


def _listed(client, mark: str) -> list:
    """Treinos da conta com esta impressão digital, do mais novo para o mais antigo."""

    def search() -> list:
        return [job for job in client.fine_tuning.jobs.list(limit=100) if (job.metadata or {}).get(MARK) == mark]

    return retrying(search)


def _create(client, provider: Provider, files: list[Path], identity: dict, attempt: int):
    mark = _fingerprint(identity)
    names = [f"{kind}-{mark}.jsonl" for kind in ("treino", "validacao")[: len(files)]]
    ids = [_uploaded(client, provider, path, name) for path, name in zip(files, names, strict=True)]
    body = _body(provider, identity, ids)
    # A chave faz a API local nunca criar duas vezes; nas outras, a procura antes de cada repetição cuida disso.
    headers = {"Idempotency-Key": f"{mark}-{attempt}"}
    create = client.with_options(max_retries=0).fine_tuning.jobs.create

    def created_meanwhile():
        return next((job for job in _listed(client, mark) if job.status not in ENDED_BADLY), None)

    try:
        return retrying(lambda: create(**body, extra_headers=headers), recover=created_meanwhile)
    except Exception as error:
        if isinstance(error.__context__, openai.APIStatusError) and error.__context__.status_code < 500:
            discard_files(client, ids)
        raise


def _body(provider: Provider, identity: dict, ids: list[str]) -> dict:
    hyperparameters = {key: identity[key] for key in ("n_epochs", "batch_size", "learning_rate_multiplier")}
    body = {
        "model": identity["model"],
        "training_file": ids[0],
        "seed": identity["seed"],
        "metadata": {MARK: _fingerprint(identity)},
    }
    if len(ids) > 1:
        body["validation_file"] = ids[1]
    if identity["suffix"]:
        body["suffix"] = identity["suffix"]
    if provider.extra_body:
        body["extra_body"] = provider.extra_body
    if provider.hyperparameters_in == "hyperparameters":
        return body | {"hyperparameters": hyperparameters}
    return body | {"method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}


def _uploaded(client, provider: Provider, path: Path, name: str) -> str:
    """Id do arquivo na conta; só envia se ele ainda não está lá com este nome, e espera que o serviço o leia."""

    def present():
        return next((file for file in client.files.list(purpose="fine-tune") if file.filename == name), None)

    def send():
        payload = (validation.BOM if provider.bom else b"") + path.read_bytes().removeprefix(validation.BOM)
        return client.with_options(max_retries=0).files.create(file=(name, io.BytesIO(payload)), purpose="fine-tune")

    file = retrying(present) or retrying(send, recover=present)
    for _ in range(60):  # dois minutos: o Azure recusa treinar com um arquivo ainda pendente
        if file.status not in ("pending", "running", "notRunning"):
            break
        time.sleep(2)
        file = retrying(partial(client.files.retrieve, file.id))
    return file.id


def _new_events(client, job_id: str, seen: set[str], sleep) -> list:
    """Eventos ainda não mostrados, do mais antigo para o mais novo; para de paginar no primeiro conhecido."""

    def read() -> list:
        fresh = []
        for event in client.fine_tuning.jobs.list_events(job_id, limit=100):
            if event.id in seen:
                break
            fresh.append(event)
        return fresh

    fresh = retrying(read, sleep=sleep)[::-1]
    seen.update(event.id for event in fresh)
    return fresh


def _show(bar, events: list, job, key: str) -> None:
    for event in events:
        measured = event.data if isinstance(event.data, dict) else {}
        if "step" not in measured:
            bar.write(f"{datetime.fromtimestamp(event.created_at):%H:%M:%S} {without_key(event.message, key)}")
            continue
        bar.total = measured.get("total_steps") or bar.total
        bar.update(max(0, int(measured["step"]) - bar.n))
        parts = [f"perda {number(measured['train_loss'], 2)}"] if "train_loss" in measured else []
        if job.estimated_finish:
            parts.append(f"fim previsto {datetime.fromtimestamp(job.estimated_finish):%H:%M:%S}")
        bar.set_postfix_str(" · ".join(parts))
