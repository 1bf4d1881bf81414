"""Respostas em lote contra uma de cada vez, com os mesmos itens e o modelo pequeno.

    python benchmarks/answers.py

Imprime tokens por segundo de cada lote, a razão para o lote de 1 e quantos textos saíram idênticos: em 16 bits
a soma muda com o preenchimento, e uma escolha gulosa quase empatada pode virar outra palavra.
"""

import time

from finetune_helpers import curation, prompts, training

ITEMS, TOKENS, SIZES = 16, 48, (1, 4, 8, 16)


def main() -> None:
    """Mede cada tamanho de lote, do maior para o menor, e imprime a tabela em Markdown."""
    profile = training.choose("cpu")
    model, tokenizer = training.load(profile)
    from finetune_helpers.training import measures

    chosen = curation.curate("amostra", model="gpt", n_train=8, n_test=ITEMS)
    texts = sorted((prompts.alpaca_prompt(prompts.question(item)) for item in chosen.test), key=len)
    measures.generate(model, tokenizer, texts[:2], limits=[4, 4])
    found = {size: _measure(measures, model, tokenizer, texts, size) for size in reversed(SIZES)}
    alone_speed, alone_texts = found[1]
    print("| lote | tokens/s | razão | textos idênticos aos de um em um |\n|---|---|---|---|")
    for size in SIZES:
        speed, given = found[size]
        same = sum(one == other for one, other in zip(given, alone_texts, strict=True))
        print(f"| {size} | {speed:.1f} | {speed / alone_speed:.1f} | {same} de {ITEMS} |")


def _measure(measures, model, tokenizer, texts: list[str], size: int) -> tuple[float, list[str]]:
    started, given = time.perf_counter(), []
    for start in range(0, len(texts), size):
        batch = texts[start : start + size]
        given += measures.generate(model, tokenizer, batch, limits=[TOKENS] * len(batch))
    return sum(one.tokens_out for one in given) / (time.perf_counter() - started), [one.text for one in given]


if __name__ == "__main__":
    main()
