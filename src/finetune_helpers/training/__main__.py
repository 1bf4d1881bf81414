"""Treina fora do caderno, numa GPU ou em várias, a configuração que o caderno 02 registrou na rodada.

    accelerate launch --num_processes 2 -m finetune_helpers.training resultados/minha/rodada.json

Depois, o caderno 02 reconhece o adaptador pronto e só responde às perguntas.
"""

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from .. import prompts, runs
from ..errors import FinetuneError, InputError, RunMismatchError
from ..records import Example, read_json, read_jsonl
from . import base_id, choose, guards, load, save, split_validation, train_or_resume, trainer
from .model import add_adapter
from .profiles import Profile, describe
from .resume import training_rows

STEP = "02_treino_llama3"


def main() -> int:
    """Treina a rodada dada na linha de comando; devolve 1, com uma só mensagem, se não puder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("rodada", type=Path, help="o rodada.json da rodada")
    parser.add_argument("--dados", type=Path, help="a pasta de dados, se não for a de mesmo nome")
    asked = parser.parse_args()
    try:
        train(asked.rodada, asked.dados)
    except FinetuneError as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 1
    return 0


def train(run_file: Path, data_folder: Path | None = None) -> None:
    """Treina (ou retoma) a rodada de ``run_file``.

    InputError se o caderno 02 ainda não registrou a configuração; RunMismatchError se aqui o modelo base é outro.
    """
    run = run_file.resolve().parent
    options = read_json(run_file)["passos"].get(STEP, {}).get("parametros")
    if options is None:
        raise InputError(f"{run_file} não tem o passo {STEP}. Abra a rodada no caderno 02 antes de treinar por aqui.")
    data = data_folder or run.parents[1] / "dados" / run.name
    profile = split_over(from_parameters(options, run), int(os.environ.get("WORLD_SIZE", "1")))
    examples = [prompts.from_alpaca(row) for row in read_jsonl(data / "llama" / "treino.jsonl")]
    _train(profile, examples, run / "llama3")


def from_parameters(options: dict[str, Any], run: Path) -> Profile:
    """O perfil que o caderno 02 registrou em ``run``; RunMismatchError se nesta máquina o modelo base é outro."""
    profile = choose(
        options["PERFIL"],
        run=run,
        engine=options["MOTOR"],
        model=options["MODELO"],
        epochs=options["EPOCAS"],
        max_steps=options["MAX_PASSOS"],
    )
    if options.get("BASE", base_id(profile)) != base_id(profile):
        raise RunMismatchError(
            f"A rodada {run.name} é do modelo {options['BASE']} e esta máquina carregaria {base_id(profile)}. Treine "
            "na máquina de antes ou use outra rodada (`run`)."
        )
    return profile


def split_over(profile: Profile, processes: int) -> Profile:
    """O perfil de cada um de ``processes`` processos, com o mesmo lote efetivo; InputError se não se divide."""
    for batch in range(profile.batch_size, 0, -1):
        accumulation, rest = divmod(profile.effective_batch, processes * batch)
        if accumulation and not rest:
            return replace(profile, batch_size=batch, gradient_accumulation=accumulation)
    raise InputError(
        f"O lote efetivo de {profile.effective_batch} não se divide por {processes} processos. "
        "Use um número de processos que o divida."
    )


def _train(profile: Profile, examples: list[Example], output: Path) -> None:
    print(describe(profile))
    clock = runs.Stopwatch()
    with clock.phase("load"):
        model, tokenizer = load(profile)
        model = add_adapter(model, profile)
    # Só aqui: o Unsloth, que o carregamento importa, precisa vir antes do transformers.
    from . import measures

    curves = measures.EfficiencyCallback()
    fitting = trainer(
        model,
        tokenizer,
        profile,
        training_rows(split_validation(examples)),
        output / "pontos",
        callbacks=[curves, measures.TimedSave(profile.save_minutes)],
        evaluate=True,
    )
    print(guards.check(fitting, tokenizer, profile))
    adapter = output / "adaptador"
    if train_or_resume(fitting, adapter) and fitting.is_world_process_zero():
        seconds = clock.seconds | {"train": curves.seconds}
        plain = fitting.accelerator.unwrap_model(fitting.model)
        save(plain, tokenizer, adapter, profile, partial(measures.report, fitting, curves, profile, seconds))
    fitting.accelerator.wait_for_everyone()


if __name__ == "__main__":
    sys.exit(main())
