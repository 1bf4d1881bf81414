"""Mostra cada medida diante de quem tenta enganá-la: ``python benchmarks/medidas.py [pasta da rodada] [destino]``.

As respostas do modelo ajustado viram, por construção, textos que nada sabem do item (constante, título, resposta de
outro item, salada de palavras) ou que só mudam de tamanho (cortada, em laço, mais longa). Uma medida presta se as
primeiras ficam no acaso e as outras não sobem.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from finetune_helpers.comparison import flexibility, metrics, similarity, statistics, study
from finetune_helpers.comparison.metrics import Case
from finetune_helpers.comparison.similarity import Cosines
from finetune_helpers.comparison.study import OTHER, Study, System
from finetune_helpers.embeddings import encoder
from finetune_helpers.portuguese import number
from finetune_helpers.records import atomic_write

ROOT = Path(__file__).parents[1]
CONSTANT = (
    "This catalogue edition offers clear writing, careful research and a lively introduction that will please general "
    "readers, students and collectors alike, with notes, an index and a durable binding made for many years of use."
)
FILLER = " It is a handsome volume that any reader will be glad to keep, to lend and to read again on long evenings."
COLUMNS = {"chrf": 1, "chrf_gain": 1, "rouge_l": 3, "rouge_l_gain": 3, "cosine": 2, "cosine_gain": 2}
SHARES = ("defective", "invented")


def adversaries(known: Study, system: str) -> dict[str, dict[str, str]]:
    """O texto de cada adversário por item; os dois primeiros não são adversários: situam os outros."""
    rng, keys = random.Random(study.SEED), [key for key in known.items if key in known.answers[system]]
    told = {key: known.answers[system][key].answer for key in keys}
    title = {key: known.items[key]["title"] for key in keys}
    after = dict(zip(keys, keys[1:] + keys[:1], strict=True))
    common = [word for text in told.values() for word in text.split() if len(word) > 4]
    return {
        "a própria descrição": {key: known.items[key]["content"] for key in keys},
        f"respostas de {known.system(system).label}": told,
        "constante": dict.fromkeys(keys, CONSTANT),
        "título repetido": title,
        "resposta de outro item": {key: told[after[key]] for key in keys},
        "descrição de treino ao acaso": {key: known.answers["ref-aleatoria"][key].answer for key in keys},
        "salada de palavras": {key: _shuffled(title[key].split() + rng.sample(common, 30), rng) for key in keys},
        "cortada ao meio": {key: similarity.shorten(text, len(text.split()) // 2) for key, text in told.items()},
        "em laço": {key: " ".join([similarity.shorten(text, 8)] * 8) for key, text in told.items()},
        "mais longa": {key: told[key] + FILLER + " " + CONSTANT for key in keys},
    }


def _shuffled(words: list[str], rng: random.Random) -> str:
    return " ".join(rng.sample(words, len(words)))


def measured(known: Study, texts: dict[str, dict[str, str]], system: str) -> Iterator[Case]:
    """Os casos de todos os adversários, com os cossenos."""
    systems = tuple(System(name, "", OTHER, "", "", name) for name in texts)
    rows = known.answers[system]
    answers = {
        name: {key: replace(rows[key], answer=text) for key, text in mine.items()} for name, mine in texts.items()
    }
    attacked = replace(known, systems=systems, answers=answers)
    pairs = [
        similarity.Pair(name, key, texts[name][key], known.items[key]["content"], control)
        for (name, key), control in similarity.controls(attacked).items()
    ]
    vectors = similarity.encode({text for pair in pairs for text in pair.texts()}, encoder())
    cosines: dict[tuple[str, str], Cosines] = {(pair.system, pair.item_id): pair.measure(vectors) for pair in pairs}
    return metrics.cases(attacked, cosines)


def closeness_table(known: Study, system: str) -> list[str]:
    """Uma linha por adversário, uma coluna por medida; entre colchetes, o intervalo de 95 %."""
    texts = adversaries(known, system)
    values: dict[tuple[str, str], dict[str, float]] = {}
    for case in measured(known, texts, system):
        for key in (*COLUMNS, *SHARES):
            value = metrics.metric(key).value(case)
            if value is not None:
                values.setdefault((case.system, key), {})[case.item["item_id"]] = value
    labels = [metrics.metric(key).label for key in (*COLUMNS, *SHARES)]
    lines = [f"| quem responde | {' | '.join(labels)} |", "|---" + "|---:" * len(labels) + "|"]
    for name in texts:
        cells = [_cell(values[name, key], key, known) for key in (*COLUMNS, *SHARES)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _cell(values: dict[str, float], key: str, known: Study) -> str:
    if key in SHARES:
        return f"{number(100 * fmean(values.values()))} %"
    interval, digits = statistics.mean(list(values.values()), known.clusters(values)), COLUMNS[key]
    shown, low, high = (_written(value, digits) for value in (interval.mean, interval.low, interval.high))
    return f"{shown} [{low}; {high}]" if key.endswith("_gain") and interval.low is not None else shown


def _written(value: float | None, digits: int) -> str:
    # Somar zero tira o sinal de um zero arredondado.
    return number(None if value is None else round(value, digits) + 0.0, digits)


def suite_table() -> list[str]:
    """Aprovações na suíte inteira de quem tenta enganar a verificação."""
    prompts, rng = flexibility.load(), random.Random(study.SEED)
    after = {prompt.id: other for prompt, other in zip(prompts, prompts[1:] + prompts[:1], strict=True)}
    attacks = {
        "a resposta certa": lambda prompt: prompt.good,
        "vazia": lambda prompt: "",
        "constante": lambda prompt: CONSTANT,
        "repete a pergunta": lambda prompt: f"{prompt.instruction}\n{prompt.input}".strip(),
        "a certa de outra pergunta": lambda prompt: after[prompt.id].good,
        "a certa em laço": lambda prompt: " ".join([prompt.good] * 6),
        "a certa numa frase errada": lambda prompt: f"It is surely not {prompt.good}, although many people say so.",
        "a certa com mais texto": lambda prompt: prompt.good + FILLER,
        "palavras da certa, embaralhadas": lambda prompt: _shuffled(f"{prompt.good} {prompt.instruction}".split(), rng),
    }
    lines = ["| quem responde | aprovações | taxa [95 %] |", "|---|---:|---:|"]
    for name, attack in attacks.items():
        passed = [flexibility.passes(prompt.id, attack(prompt)).passed for prompt in prompts]
        rate = statistics.rate([float(one) for one in passed], [prompt.cluster or prompt.id for prompt in prompts])
        limits = f"[{number(100 * (rate.low or 0), 1)}; {number(100 * (rate.high or 0), 1)}]"
        lines.append(f"| {name} | {sum(passed)} de {len(passed)} | {number(100 * (rate.mean or 0), 1)} % {limits} |")
    return lines


def main(run: str = str(ROOT / "resultados" / "publicada"), target: str = "") -> int:
    """Escreve a tabela e a imprime."""
    known = study.read_study(run)
    system = next(first for first, second in known.pairs() if second.endswith("-base"))
    lines = [
        "# Cada medida diante do seu adversário",
        "",
        f"Rodada `{known.run.name}`, {len(known.items)} itens. As medidas além do acaso usam textos do mesmo número de "
        "palavras, sem as do título, e descontam a proximidade com as descrições de outros itens: quem não depende do "
        "item fica em 0 (o intervalo contém 0).",
        "",
        *closeness_table(known, system),
        "",
        "## A suíte de flexibilidade",
        "",
        "A certa de outra pergunta passa onde as duas pedem a mesma letra ou a mesma abstenção: é o acerto ao acaso.",
        "",
        *suite_table(),
        "",
    ]
    with atomic_write(Path(target) if target else ROOT / "benchmarks" / "resultados" / "medidas.md") as file:
        file.write("\n".join(lines))
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
