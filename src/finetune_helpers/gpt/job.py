"""Um treino por arquivo, modelo e hiperparâmetros: acha o que já existe antes de criar outro, e o segue até o fim."""

import hashlib
import io
import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai

from .. import progress
from ..errors import InputError, RunMismatchError, without_key
from ..portuguese import number
from ..records import read_json, sha256_file, write_json
from . import budget, validation
from .budget import Terms
from .chat import explain_job, retrying
from .providers import LOOPBACK, Provider

if TYPE_CHECKING:
    from openai.types.fine_tuning import FineTuningJob

STATE = "trabalho.json"
MARK = "impressao"
ENDED_BADLY = ("failed", "cancelled")
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
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

    def identity(self, provider: Provider) -> dict[str, Any]:
        """O que define este treino; os caminhos dos arquivos não contam, o conteúdo deles sim."""
        paths = {"training": self.training_file, "validation": self.validation_file}
        hashes = {
            f"{kind}_sha256": sha256_file(path) if path and Path(path).is_file() else "" for kind, path in paths.items()
        }
        chosen = zip(HYPERPARAMETERS, (self.n_epochs, self.batch_size, self.multiplier), strict=True)
        named = {"provider": provider.name, "model": self.model or provider.default_model}
        return named | hashes | dict(chosen) | {"seed": self.seed, "suffix": self.suffix}


def find_or_create(
    client: openai.OpenAI, folder: Path | str, request: Request, *, provider: Provider, terms: Terms | None = None
) -> "FineTuningJob":
    """Devolve o treino deste pedido: o anotado em ``folder``, o da conta ou um novo; nunca paga duas vezes.

    Só cria se a estimativa couber em ``terms.budget_usd`` (provedor pago); sem orçamento não envia nada. Um treino que
    falhou ou foi cancelado só é refeito com ``terms.again``. InputError: arquivo inválido ou orçamento;
    RunMismatchError: a pasta já tem outro treino; MachineError: conta, rede ou serviço.
    """
    terms, identity, note = terms or Terms(), request.identity(provider), Path(folder) / STATE
    mark = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    noted = _noted(client, note, identity, mark)
    if noted and not (terms.again and noted.status in ENDED_BADLY):
        return noted
    validation.check(request.training_file)
    if request.validation_file:
        validation.check(request.validation_file, minimum=False)
    if provider.paid:
        model = identity["model"]
        expected = budget.estimate(request.training_file, model, request.n_epochs, provider=provider, terms=terms)
        budget.check_budget(expected, provider, terms.budget_usd)
    listed = _listed(client, mark)
    alive = [job for job in listed if not (terms.again and job.status in ENDED_BADLY)]
    if alive:
        job = alive[0]
    else:
        paths = [Path(path) for path in (request.training_file, request.validation_file) if path]
        files = [
            _uploaded(client, provider, path, f"{kind}-{mark}.jsonl")
            for kind, path in zip(("treino", "validacao"), paths, strict=False)
        ]
        body = _body(provider, identity, files) | {"metadata": {MARK: mark}}
        # A chave faz a API local nunca criar duas vezes; nas outras, a procura antes de cada repetição cuida disso.
        job = _created(client, body | {"extra_headers": {"Idempotency-Key": f"{mark}-{len(listed)}"}}, mark, files)
    write_json(note, {"fingerprint": mark, "job_id": job.id, "request": identity})
    return job


def _noted(client: openai.OpenAI, note: Path, identity: dict, mark: str) -> "FineTuningJob | None":
    """O treino que ``trabalho.json`` anota; None se não há ou se a API (local, nova) não o conhece."""
    if not note.is_file():
        return None
    state = read_json(note)
    if state["fingerprint"] != mark:
        known = state["request"]
        listed = "; ".join(
            f"{CITED.get(key, key)}: era {known.get(key)!r}, agora {value!r}"
            for key, value in identity.items()
            if known.get(key) != value
        )
        raise RunMismatchError(
            f"{note} anota outro treino ({listed}). Volte aos parâmetros de antes, dê outro nome à rodada (`run`) ou "
            "apague esse arquivo."
        )
    try:
        return retrying(lambda: client.fine_tuning.jobs.retrieve(state["job_id"]))
    except InputError:
        return None


def _listed(client: openai.OpenAI, mark: str) -> list["FineTuningJob"]:
    """Treinos da conta com esta impressão digital, do mais novo para o mais antigo."""
    jobs = client.fine_tuning.jobs
    return retrying(lambda: [job for job in jobs.list(limit=100) if (job.metadata or {}).get(MARK) == mark])


def _uploaded(client: openai.OpenAI, provider: Provider, path: Path, name: str) -> str:
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


def _body(provider: Provider, identity: dict, files: list[str]) -> dict[str, Any]:
    hyperparameters = {key: identity[key] for key in HYPERPARAMETERS}
    body = {"model": identity["model"], "seed": identity["seed"]}
    body |= dict(zip(("training_file", "validation_file"), files, strict=False))
    body |= {"suffix": identity["suffix"]} if identity["suffix"] else {}
    body |= {"extra_body": provider.extra_body} if provider.extra_body else {}
    if provider.hyperparameters_in == "hyperparameters":
        return body | {"hyperparameters": hyperparameters}
    return body | {"method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}}


def _created(client: openai.OpenAI, body: dict, mark: str, files: list[str]) -> "FineTuningJob":
    def created_meanwhile():
        return next((job for job in _listed(client, mark) if job.status not in ENDED_BADLY), None)

    create = client.with_options(max_retries=0).fine_tuning.jobs.create
    try:
        return retrying(lambda: create(**body), recover=created_meanwhile)
    except Exception as error:
        if isinstance(error.__context__, openai.APIStatusError) and error.__context__.status_code < 500:
            _discard(client, files)  # o serviço recusou o treino
        raise


def _discard(client: openai.OpenAI, file_ids: Iterable[str | None]) -> None:
    """Apaga arquivos enviados por um treino recusado; um que já não existe não é erro."""
    for file_id in filter(None, file_ids):
        try:
            retrying(partial(client.files.delete, file_id))
        except InputError:
            continue


def follow(client: openai.OpenAI, job_id: str, *, poll_seconds: float | None = None) -> "FineTuningJob":
    """Mostra o treino até terminar e o devolve; pode ser chamado de novo a qualquer momento.

    InputError com o próximo passo se ele falhou ou foi cancelado (os arquivos de um treino falho são apagados);
    MachineError se a rede não volta. Interromper a célula não interrompe o treino.
    """
    pause = poll_seconds or (1.0 if client.base_url.host in LOOPBACK else 15.0)
    seen: set[str] = set()
    with progress.bar("treinando", "passos") as bar:
        while True:
            job = retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))
            _show(bar, _new_events(client, job_id, seen), job, client.api_key)
            if job.status in ("succeeded", *ENDED_BADLY):
                break
            bar.refresh()
            time.sleep(pause)
    if job.status == "succeeded":
        return job
    if job.status == "failed" and (job.metadata or {}).get(MARK):  # só os arquivos que este pacote enviou
        _discard(client, [job.training_file, job.validation_file])
    raise explain_job(job, client.api_key)


def _new_events(client: openai.OpenAI, job_id: str, seen: set[str]) -> list:
    """Eventos ainda não mostrados, do mais antigo para o mais novo; para de paginar no primeiro conhecido."""

    def read() -> list:
        newest_first = client.fine_tuning.jobs.list_events(job_id, limit=100)
        return list(takewhile(lambda event: event.id not in seen, newest_first))

    fresh = retrying(read)[::-1]
    seen.update(event.id for event in fresh)
    return fresh


def _show(bar: Any, events: list, job: "FineTuningJob", key: str) -> None:
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


def cancel(client: openai.OpenAI, job_id: str) -> "FineTuningJob":
    """Cancela um treino em andamento e devolve o estado; um que já terminou volta como está."""
    job = retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))
    if job.status in ("succeeded", *ENDED_BADLY):
        return job
    try:
        return retrying(lambda: client.fine_tuning.jobs.cancel(job_id))
    except InputError:
        return retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))  # terminou entre uma chamada e outra
