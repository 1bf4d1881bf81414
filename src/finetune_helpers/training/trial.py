"""Um ensaio num processo só dele, que o anota no diário do Optuna, e quem o pede e espera.

``python -m finetune_helpers.training.trial PASTA ESTUDO NÚMERO`` lê o pedido numa linha da entrada padrão e só abre as
linhas de treino. Quando a entrada padrão fecha, quem pediu o ensaio morreu, e ele sai.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import prompts
from ..errors import FinetuneError
from ..estimates import peak_rss_gb
from ..records import drop_truncated_tail, read_jsonl
from ..runs import when_input_closes
from . import add_adapter, guards, load, split_validation, trainer
from .profiles import Profile
from .resume import training_rows

if TYPE_CHECKING:
    from optuna import Study, Trial
    from transformers import TrainerCallback

JOURNAL, LOGS, SEED = "estudo.log", "ensaios", 3407
WORSE = "pior que a mediana dos ensaios no mesmo passo"


def mend(folder: Path) -> None:
    """Tira do diário a linha que um processo morto deixou pela metade, e a trava que o Optuna esperaria 30 segundos."""
    drop_truncated_tail(folder / JOURNAL)
    for left in folder.glob(f"{JOURNAL}.*"):
        left.unlink()


def load_study(folder: Path, name: str) -> "Study":
    """O estudo ``name`` do diário de ``folder``, novo ou retomado."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = str(folder / JOURNAL)
    journal = JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))
    if name not in optuna.get_all_study_names(journal):  # abrir o que já existe não pode fazer o diário crescer
        optuna.create_study(study_name=name, storage=journal)
    # A semente depende de quantos ensaios já foram feitos: um estudo retomado não repete os sorteios.
    study = optuna.load_study(study_name=name, storage=journal, pruner=optuna.pruners.MedianPruner(n_startup_trials=2))
    study.sampler = optuna.samplers.TPESampler(seed=SEED + len(study.trials), n_startup_trials=5)
    return study


def run(folder: Path, which: tuple[str, int], request: dict[str, Any], seconds: float) -> str:
    """O processo do ensaio ``which`` (estudo, número) do começo ao fim; devolve por que ele não chegou lá, ou nada."""
    # Um perfil de CPU não pode ocupar a GPU que a máquina tenha.
    cpu = request["profile"]["device"] == "cpu"
    hidden = {"CUDA_VISIBLE_DEVICES": "", "UNSLOTH_FORCE_CPU": "1"} if cpu else {}
    log = folder / LOGS / f"{which[0]}-{which[1] + 1}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "finetune_helpers.training.trial", str(folder), which[0], str(which[1])]
    with open(log, "wb") as written:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=os.environ | hidden,
        )
    assert process.stdin
    try:
        with contextlib.suppress(BrokenPipeError):  # morreu antes de ler o pedido
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        code = process.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        return "passou do tempo que restava no orçamento"
    finally:
        # Com tudo o que ele começou: só assim a memória da GPU volta inteira.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        mend(folder)
    if code == 0:
        return ""
    if code == -signal.SIGKILL:
        return "o sistema encerrou o processo (sinal 9), quase sempre por falta de memória"
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next(
        (line.strip()[:300] for line in reversed(lines) if line.strip()), f"o processo saiu com o código {code}"
    )


def main() -> None:
    """Treina o ensaio da linha de comando; o que uma pessoa precisa saber de uma falha fica no diário."""
    from optuna import Trial

    request = json.loads(sys.stdin.readline())
    when_input_closes(lambda: os._exit(1))
    study = load_study(Path(sys.argv[1]), sys.argv[2])
    trial = Trial(study, study.trials[int(sys.argv[3])]._trial_id)
    try:
        train(request, trial)
    except FinetuneError as error:
        trial.set_user_attr("reason", str(error))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
            raise
        trial.set_user_attr("reason", "a memória não bastou para este ensaio.")


def train(request: dict[str, Any], trial: "Trial") -> None:
    """Treina o perfil pedido em ``rows`` linhas e anota segundos, passos e picos de memória (GB).

    As linhas são as primeiras na ordem da identidade: um ensaio com menos delas usa parte das mesmas.
    """
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in request["profile"].items()
    }
    profile = Profile(**values)
    train, validation = split_validation([prompts.from_alpaca(row) for row in read_jsonl(request["data"])])
    train = sorted(train, key=lambda example: example.item_id)[: request["rows"]]
    model, tokenizer = load(profile)
    model = add_adapter(model, profile)
    # Só aqui: o Unsloth, que o carregamento importa, precisa vir antes do transformers.
    from . import measures

    callbacks = [reporting(trial, request["evaluations"], request["prune"])]
    folder = Path(sys.argv[1]) / LOGS
    fitting = trainer(model, tokenizer, profile, training_rows((train, validation)), folder, callbacks=callbacks)
    print(guards.check(fitting, tokenizer, profile), flush=True)
    started = time.perf_counter()
    fitting.train()
    known = {"train_seconds": round(time.perf_counter() - started, 2), "steps": fitting.state.global_step}
    for key, value in (known | {"peak_gpu_gb": measures.peak_gpu_gb(), "peak_rss_gb": peak_rss_gb()}).items():
        trial.set_user_attr(key, value)


def reporting(trial: "Trial", evaluations: int, prune: bool) -> "TrainerCallback":
    """Mede a validação ``evaluations`` vezes, a última no último passo, e leva cada medida ao diário.

    O treino para quando a perda deixa de ser um número ou, com ``prune``, vai pior que a mediana dos outros ensaios.
    """
    from transformers import TrainerCallback

    epochs: dict[str, float] = {}

    class Reporting(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            planned = {-(-state.max_steps * part // evaluations) for part in range(1, evaluations + 1)}
            control.should_evaluate = state.global_step in planned

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            reason = ""
            if not math.isfinite(metrics["eval_loss"]):
                reason = "a perda deixou de ser um número: taxa de aprendizado alta demais"
            else:
                epochs[str(state.global_step)] = round(state.epoch, 3)
                trial.set_user_attr("epochs", epochs)
                trial.report(round(metrics["eval_loss"], 5), state.global_step)
                reason = WORSE if prune and trial.should_prune() else ""
            if reason:
                trial.set_user_attr("reason", reason)
                control.should_training_stop = True

    return Reporting()


if __name__ == "__main__":
    main()
