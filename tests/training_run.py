"""Um treino pequeno num processo próprio, para os testes que o interrompem ou recarregam.

python training_run.py treinar|recarregar PASTA MODELO MOTOR
"""

import sys
from pathlib import Path

from finetune_helpers import prompts, records, training

EXAMPLES = [records.Example(f"Title {n}", f"Book {n} tells of {n} travellers.") for n in range(48)]


def main(action: str, folder: str, model_folder: str, engine: str) -> None:
    """Treina 24 passos salvando a cada um, ou recarrega o adaptador; grava perdas e respostas."""
    output = Path(folder)
    changes = {"model": model_folder, "batch_size": 2, "max_steps": 24, "learning_rate": 1e-2}
    profile = training.choose("cpu", engine=engine, **changes)
    if action == "recarregar":
        model, tokenizer = training.load(profile, adapter=output / "adaptador")
        records.write_json(output / "depois.json", _answers(model, tokenizer))
        return
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    from finetune_helpers.training import measures

    curves = measures.EfficiencyCallback()
    rows = [prompts.to_prompt_completion(example) for example in EXAMPLES]
    callbacks = [curves, measures.TimedSave(0.0)]
    trainer = training.trainer(model, tokenizer, profile, (rows, []), output / "pontos", callbacks=callbacks)
    if training.train_or_resume(trainer, output / "adaptador", profile):
        report = {"passos": trainer.state.global_step, "perdas": curves.loss_curve}
        records.write_json(output / "antes.json", _answers(model, tokenizer))
        records.write_json(output / "curva.json", report)
        training.save(model, tokenizer, output / "adaptador", profile)  # diz que o treino acabou: por último


def _answers(model, tokenizer) -> list[str]:
    from finetune_helpers.training import measures

    asked = [prompts.question(example) for example in EXAMPLES[:4]]
    return [reply.answer for reply in measures.answerer(model, tokenizer, "x", max_new_tokens=12)(asked)]


if __name__ == "__main__":
    main(*sys.argv[1:])
