"""Um treino pequeno ou uma busca num processo próprio, para os testes que os interrompem ou recarregam.

python training_run.py treinar|recarregar PASTA MODELO MOTOR
python training_run.py buscar PASTA MODELO ENSAIOS
"""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from finetune_helpers import prompts, records, runs, training
from finetune_helpers.training import search

EXAMPLES = [records.Example(f"Title {n}", f"Book {n} tells of {n} travellers.") for n in range(48)]


def start(*arguments: object, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """Começa uma destas ações noutro processo."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen) -> None:
    """Espera que um processo acabe; falha com o que ele escreveu."""
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error.decode()[-2000:]


def until(happened: Callable[[], object], seconds: float) -> bool:
    """Espera que algo aconteça, por no máximo ``seconds``."""
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)
    return bool(happened())


def bench(root: Path, model: str, trials: int) -> search.Bench:
    """Os experimentos da rodada ``r`` de ``root``, com dois passos por ensaio e tempo de sobra."""
    budget = search.budget("demonstracao", minutes=60, trials=trials)
    profile = search.base_profile(budget, engine="transformers", model=model, max_steps=2)
    return search.prepare(root / "resultados" / "r", root / "dados" / "r" / "llama" / "treino.jsonl", budget, profile)


def main(action: str, folder: str, model_folder: str, asked: str) -> None:
    """Treina 24 passos salvando a cada um, ou recarrega o adaptador, e grava perdas e respostas; ou faz a busca."""
    output = Path(folder)
    if action == "buscar":
        trials = bench(output, model_folder, int(asked))
        runs.open_run(trials.folder.parent, search.STEP, {"MODELO": model_folder}, output=trials.folder)
        search.search(trials)
        return
    changes = {"model": model_folder, "batch_size": 2, "max_steps": 24, "learning_rate": 1e-2}
    profile = training.choose("cpu", engine=asked, **changes)
    if action == "recarregar":
        model, tokenizer = training.load(profile, adapter=output / "adaptador")
        records.write_json(output / "depois.json", _answers(model, tokenizer))
        return
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    from finetune_helpers.training import measures

    curves = measures.EfficiencyCallback()
    rows = [prompts.to_prompt_completion(example) for example in EXAMPLES]
    forks: list[str] = []
    sys.addaudithook(lambda event, _: forks.append(event) if event == "os.fork" else None)
    callbacks = [curves, measures.TimedSave(0.0)]
    trainer = training.trainer(model, tokenizer, profile, (rows, []), output / "pontos", callbacks=callbacks)
    if training.train_or_resume(trainer, output / "adaptador", profile):
        report = {"passos": trainer.state.global_step, "perdas": curves.loss_curve, "filhos": len(forks)}
        records.write_json(output / "antes.json", _answers(model, tokenizer))
        records.write_json(output / "curva.json", report)
        training.save(model, tokenizer, output / "adaptador", profile)  # diz que o treino acabou: por último


def _answers(model, tokenizer) -> list[str]:
    from finetune_helpers.training import measures

    asked = [prompts.question(example) for example in EXAMPLES[:4]]
    return [reply.answer for reply in measures.answerer(model, tokenizer, "x", max_new_tokens=12)(asked)]


if __name__ == "__main__":
    main(*sys.argv[1:])
