"""python ramo.py PASSO PASTA: um passo do caderno 02 no ramo CUDA do Unsloth; escreve o que viu em PASTA/PASSO.json."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import ligar  # antes de tudo
import minusculo
import torch
from unsloth import FastLanguageModel

from finetune_helpers import prompts, training
from finetune_helpers.records import Example, write_json, write_jsonl
from finetune_helpers.training import guards, measures, profiles, resume
from finetune_helpers.training import search as trials

EXAMPLES = [
    Example(f"The Harbour of {name}", f"A history of {name} and its sailors. " * (1 + n % 3))
    for n, name in enumerate(["Alba", "Bruma", "Cedro", "Doca", "Elba", "Faro", "Gaia", "Horta"])
]
ROWS = [prompts.to_prompt_completion(example) for example in EXAMPLES]
BEGIN = 128000


def profile(name: str, model: Path) -> training.Profile:
    """O perfil de uma placa com o modelo minúsculo, sem 4 bits e em float32: o que o interpretador calcula certo."""
    changes = {"model": str(model), "device": "cpu", "dtype": "float32", "load_in_4bit": False}
    changes |= {"gradient_checkpointing": False, "optimizer": "adamw_torch", "learning_rate": 5e-3}
    changes |= {"batch_size": 2, "gradient_accumulation": 1, "max_steps": 3, "max_length": 256, "sampling": "random"}
    return replace(profiles.BY_NAME[name], **changes)


def built(chosen: training.Profile, folder: Path) -> tuple:
    """Modelo com adaptador novo, tokenizador e treinador, pelas mesmas funções do caderno."""
    arguments = training.model_arguments(chosen) | {"device_map": "cpu", "use_gradient_checkpointing": False}
    model, tokenizer = FastLanguageModel.from_pretrained(**arguments)
    model = training.add_adapter(model, chosen)
    return model, tokenizer, training.trainer(model, tokenizer, chosen, (ROWS, []), folder)


def build(folder: Path) -> dict:
    """Cada perfil de GPU monta modelo, adaptador, configuração e treinador nesta capacidade."""
    seen = {}
    for name in ("t4", "l4", "a100", "h100"):
        chosen = profile(name, folder / "modelo")
        _, tokenizer, trainer = built(chosen, folder / name)
        batch = trainer.data_collator([trainer.train_dataset[0]])
        ids, labels = batch["input_ids"][0].tolist(), batch["labels"][0].tolist()
        learned = [token for token in labels if token != guards.IGNORED]
        original = replace(chosen, dtype=profiles.BY_NAME[name].dtype, device="cuda")
        seen[name] = {
            "begins": ids.count(BEGIN),
            "prompt_masked": labels[0] == guards.IGNORED,
            "ends_learned": learned[-1] == tokenizer.eos_token_id,
            "learned_text": tokenizer.decode(learned[:-1]).strip() == EXAMPLES[0].content.strip(),
            "check": str(guards.check(trainer, tokenizer, chosen)),
            "fp16": resume.sft_arguments(original, folder)["bf16"] is False,
            "unsloth_trainer": "Unsloth" in type(trainer).__mro__[1].__name__ or "Unsloth" in type(trainer).__name__,
        }
    return seen


def train(folder: Path) -> dict:
    """Treina; com MORRE_NO_PASSO, salva um checkpoint nesse passo e morre como num kill -9. RESPONDE=0 só treina."""
    from transformers import TrainerCallback

    death = int(os.environ.get("MORRE_NO_PASSO", "0"))

    class Death(TrainerCallback):
        """Pede o checkpoint e, quando ele está escrito, mata o processo."""

        def on_step_end(self, args, state, control, **_):
            control.should_save = state.global_step == death

        def on_save(self, args, state, control, **_):
            os._exit(9)

    chosen = profile(os.environ["PLACA"], folder / "modelo")
    model, tokenizer, trainer = built(chosen, folder / "pontos")
    if death:
        trainer.add_callback(Death())
    training.train_or_resume(trainer, folder / "adaptador", chosen)
    training.save(model, tokenizer, folder / "adaptador", chosen)
    logged = {row["step"]: row["loss"] for row in trainer.state.log_history if "loss" in row}
    seen = {"losses": logged, "base_id": training.base_id(chosen)}
    return seen if os.environ.get("RESPONDE") == "0" else seen | answers(model, tokenizer, chosen)


def answers(model, tokenizer, chosen: training.Profile) -> dict:
    """Respostas e perdas, da base e do ajustado, com o adaptador desligado e ligado; sozinhas e em lote."""
    asked = [prompts.question(example) for example in EXAMPLES[:3]]
    identity, seen = training.base_id(chosen), {}
    for name, adapter in (("tuned", True), ("base", False)):
        reply = measures.answerer(model, tokenizer, identity, max_new_tokens=4, adapter=adapter)
        seen[f"{name}_batch"] = [one.answer for one in reply(asked)]
        seen[f"{name}_single"] = [reply([one])[0].answer for one in asked]
    # Como a página responde: aos pedaços.
    pieces: list[str] = []
    text = prompts.alpaca_prompt(asked[0])
    measures.generate(model, tokenizer, [text], limits=[4], on_text=lambda row, piece: pieces.append(piece))
    seen["tuned_pieces"] = pieces
    with torch.inference_mode():
        seen["tuned_losses"] = [one.loss for one in measures.losses(model, tokenizer, ROWS, max_length=256)]
        with model.disable_adapter():
            seen["base_losses"] = [one.loss for one in measures.losses(model, tokenizer, ROWS, max_length=256)]
    return seen


def search(folder: Path) -> dict:
    """Dois ensaios do caderno 05, cada um no seu processo."""
    os.environ["EMULAR_ENSAIOS"] = "1"
    data = write_jsonl(folder / "treino.jsonl", map(prompts.to_alpaca, EXAMPLES * 2))
    budget = trials.Budget("prova", 20.0, 2, 2, 1.0, 1)
    bench = trials.prepare(folder, data, budget, replace(profile("t4", folder / "modelo"), max_steps=1))
    done = trials.done(trials.search(bench))
    logs = "".join(path.read_text(encoding="utf-8") for path in (bench.folder / "ensaios").glob("*.txt"))
    return {"reasons": [trial.user_attrs.get("reason", "") for trial in done], "losses": [t.value for t in done]} | {
        "without_padding": logs.count("sem padding")
    }


def main() -> None:
    """Executa o passo pedido."""
    step, folder = sys.argv[1], Path(sys.argv[2])
    if not (folder / "modelo").exists():
        minusculo.write(folder / "modelo")
    write_json(folder / f"{step}.json", {"build": build, "train": train, "search": search}[step](folder))
    print(json.dumps({"capacidade": [ligar.MAJOR, ligar.MINOR]}))


if __name__ == "__main__":
    main()
