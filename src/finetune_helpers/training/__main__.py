"""Treina fora do caderno, numa GPU ou em várias, a configuração que o caderno 02 registrou na rodada.

    accelerate launch --num_processes 2 -m finetune_helpers.training resultados/minha/rodada.json

Depois, o caderno 02 reconhece o adaptador pronto e só responde às perguntas.
"""

import argparse
import os
import sys
from functools import partial
from pathlib import Path

from .. import prompts, runs
from ..errors import FinetuneError, InputError
from ..records import Example, read_json, read_jsonl
from . import choose, fitting, guards, lora, save, split_validation, train_or_resume
from .profiles import Profile, describe, split_over

STEP = "02_treino_llama3"


def main() -> int:
    """Treina a rodada dada na linha de comando; devolve 1, com uma só mensagem, se não puder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rodada", type=Path, help="o rodada.json da rodada")
    parser.add_argument("--dados", type=Path, help="a pasta de dados, se não for a de mesmo nome")
    asked = parser.parse_args()
    try:
        train(asked.rodada, asked.dados)
    except FinetuneError as error:
        print(f"Erro: {error}", file=sys.stderr)
        return 1
    return 0


def train(run_file: Path, data_folder: Path | None = None) -> Path:
    """Treina (ou retoma) a rodada de ``run_file`` e devolve a pasta do adaptador.

    InputError se o caderno 02 ainda não registrou a configuração na rodada.
    """
    run = run_file.resolve().parent
    options = read_json(run_file)["passos"].get(STEP, {}).get("parametros")
    if options is None:
        raise InputError(f"{run_file} não tem o passo {STEP}. Abra a rodada no caderno 02 antes de treinar por aqui.")
    data = data_folder or run.parents[1] / "dados" / run.name
    profile = split_over(from_parameters(options, run), int(os.environ.get("WORLD_SIZE", "1")))
    examples = [prompts.from_alpaca(row) for row in read_jsonl(data / "llama" / "treino.jsonl")]
    return _train(profile, examples, run / "llama3")


def from_parameters(options: dict, run: Path) -> Profile:
    """O perfil que os parâmetros do caderno 02 escolhem na rodada ``run``."""
    return choose(
        options["PERFIL"],
        run=run,
        engine=options["MOTOR"],
        model=options["MODELO"],
        epochs=options["EPOCAS"],
        max_steps=options["MAX_PASSOS"],
    )


def _train(profile: Profile, examples: list[Example], output: Path) -> Path:
    print(describe(profile))
    clock = runs.Stopwatch()
    with clock.phase("load"):
        model, tokenizer = lora.load(profile)
        model = lora.add_adapter(model, profile)
    # Só aqui: o Unsloth, que o carregamento importa, precisa vir antes do transformers.
    from . import efficiency

    curves = efficiency.EfficiencyCallback()
    trainer = fitting.trainer(
        model,
        tokenizer,
        profile,
        split_validation(examples),
        output / "pontos",
        [curves, efficiency.TimedSave(profile.save_minutes)],
    )
    print(guards.check(trainer, tokenizer, profile))
    adapter = output / "adaptador"
    if train_or_resume(trainer, adapter) and trainer.is_world_process_zero():
        seconds = clock.seconds | {"train": curves.seconds}
        save(
            trainer.accelerator.unwrap_model(trainer.model),
            tokenizer,
            adapter,
            profile,
            partial(efficiency.report, trainer, curves, profile, seconds, []),
        )
    trainer.accelerator.wait_for_everyone()
    return adapter


if __name__ == "__main__":
    sys.exit(main())
