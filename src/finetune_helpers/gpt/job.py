"""Um treino por arquivo, modelo e hiperparâmetros: acha o que já existe antes de criar (e de pagar) outro."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import openai

from ..errors import InputError, RunMismatchError
from ..records import read_json, sha256_file, write_json
from . import budget, data
from .failures import retrying
from .providers import Provider
from .uploads import discard_files, uploaded

if TYPE_CHECKING:
    from openai import OpenAI
    from openai.types.fine_tuning import FineTuningJob

STATE = "trabalho.json"
MARK = "impressao"
ENDED_BADLY = ("failed", "cancelled")


@dataclass(frozen=True)
class Request:
    """O que define um treino; a impressão digital sai daqui."""

    provider: str
    model: str
    training_sha256: str
    validation_sha256: str
    n_epochs: int | str
    batch_size: int | str
    learning_rate_multiplier: float | str
    seed: int
    suffix: str

    @property
    def fingerprint(self) -> str:
        """Dezesseis dígitos que mudam com o arquivo, o modelo, o provedor ou qualquer hiperparâmetro."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def hyperparameters(self) -> dict:
        """Os hiperparâmetros com os nomes da API."""
        return {key: getattr(self, key) for key in ("n_epochs", "batch_size", "learning_rate_multiplier")}


def find_or_create(
    client: "OpenAI",
    folder: Path | str,
    training_file: Path | str,
    *,
    provider: Provider,
    model: str = "",
    validation_file: Path | str | None = None,
    n_epochs: int | str = "auto",
    batch_size: int | str = "auto",
    learning_rate_multiplier: float | str = "auto",
    seed: int = 3407,
    suffix: str = "",
    budget_usd: float = 0.0,
    questions: int = 0,
    answer_tokens: int = 256,
    own_prices: dict[str, float] | None = None,
    again: bool = False,
) -> "FineTuningJob":
    """Devolve o treino deste arquivo, modelo e hiperparâmetros: o anotado em ``folder``, o da conta ou um novo.

    Só cria se a estimativa couber em ``budget_usd`` (provedor pago); sem orçamento não envia nada. Um treino falho ou
    cancelado só é refeito com ``again=True``. InputError: arquivo inválido ou orçamento; RunMismatchError: a pasta já
    tem outro treino; MachineError: conta, rede ou serviço.
    """
    model = model or provider.default_model
    files = [Path(path) for path in (training_file, validation_file) if path]
    hashes = [sha256_file(path) if path.is_file() else "" for path in files] + [""]
    chosen = (n_epochs, batch_size, learning_rate_multiplier, seed, suffix)
    request = Request(provider.name, model, hashes[0], hashes[1], *chosen)
    known = _noted(client, Path(folder), request)
    if known and not (again and known.status in ENDED_BADLY):
        return known
    estimate = budget.estimate(
        training_file,
        model,
        n_epochs,
        provider=provider,
        questions=questions,
        answer_tokens=answer_tokens,
        own_prices=own_prices,
    )
    budget.check_budget(estimate, provider, budget_usd)
    if validation_file:
        data.check(validation_file, minimum=False)
    found = _listed(client, request.fingerprint)
    alive = [job for job in found if not (again and job.status in ENDED_BADLY)]
    job = alive[0] if alive else _create(client, provider, request, files, attempt=len(found))
    _note(Path(folder), request, job)
    return job


def cancel(client: "OpenAI", job_id: str) -> "FineTuningJob":
    """Cancela um treino em andamento e devolve o estado; um que já terminou volta como está."""
    job = retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))
    if job.status in ("succeeded", *ENDED_BADLY):
        return job
    try:
        return retrying(lambda: client.fine_tuning.jobs.cancel(job_id))
    except InputError:
        return retrying(lambda: client.fine_tuning.jobs.retrieve(job_id))  # terminou entre uma chamada e outra


def _noted(client, folder: Path, request: Request):
    """O treino que ``trabalho.json`` anota; None se não há ou se a API (local, nova) não o conhece."""
    path = folder / STATE
    state = read_json(path) if path.is_file() else None
    if state is None:
        return None
    if state["fingerprint"] != request.fingerprint:
        asked = asdict(request)
        changed = [f"{key}: era {state['request'].get(key)!r}, agora {asked[key]!r}" for key in asked]
        changed = [text for key, text in zip(asked, changed, strict=True) if state["request"].get(key) != asked[key]]
        raise RunMismatchError(
            f"{path} anota outro treino ({'; '.join(changed)}). Dê outro nome à rodada (RODADA) ou apague esse arquivo."
        )
    try:
        return retrying(lambda: client.fine_tuning.jobs.retrieve(state["job_id"]))
    except InputError:
        return None


def _note(folder: Path, request: Request, job) -> None:
    state = {"fingerprint": request.fingerprint, "job_id": job.id, "request": asdict(request)}
    write_json(folder / STATE, state)


def _listed(client, fingerprint: str) -> list:
    """Treinos da conta com esta impressão digital, do mais novo para o mais antigo."""

    def search() -> list:
        return [job for job in client.fine_tuning.jobs.list(limit=100) if (job.metadata or {}).get(MARK) == fingerprint]

    return retrying(search)


def _create(client, provider: Provider, request: Request, files: list[Path], attempt: int):
    names = [f"{kind}-{request.fingerprint}.jsonl" for kind in ("treino", "validacao")[: len(files)]]
    ids = [uploaded(client, provider, path, name) for path, name in zip(files, names, strict=True)]
    body = _body(provider, request, ids)
    # A chave faz a API local nunca criar duas vezes; nas outras, a procura antes de cada repetição cuida disso.
    headers = {"Idempotency-Key": f"{request.fingerprint}-{attempt}"}
    create = client.with_options(max_retries=0).fine_tuning.jobs.create

    def created_meanwhile():
        return next((job for job in _listed(client, request.fingerprint) if job.status not in ENDED_BADLY), None)

    try:
        return retrying(lambda: create(**body, extra_headers=headers), recover=created_meanwhile)
    except Exception as error:
        if isinstance(error.__context__, openai.APIStatusError) and error.__context__.status_code < 500:
            discard_files(client, ids)
        raise


def _body(provider: Provider, request: Request, ids: list[str]) -> dict:
    body = {
        "model": request.model,
        "training_file": ids[0],
        "seed": request.seed,
        "metadata": {MARK: request.fingerprint},
    }
    if len(ids) > 1:
        body["validation_file"] = ids[1]
    if request.suffix:
        body["suffix"] = request.suffix
    if provider.extra_body:
        body["extra_body"] = provider.extra_body
    if provider.hyperparameters_in == "hyperparameters":
        return body | {"hyperparameters": request.hyperparameters}
    return body | {"method": {"type": "supervised", "supervised": {"hyperparameters": request.hyperparameters}}}
