"""Figuras: existem, têm a largura pedida, nada sai da moldura e a mesma entrada dá o mesmo arquivo."""

import struct

import pytest
from curation_rows import count_words, good_row, write_rows

from finetune_helpers import curation
from finetune_helpers.curation import figures
from finetune_helpers.records import Example


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    rows = [good_row(seed, 60 + 9 * seed) for seed in range(60)]
    path = write_rows(tmp_path_factory.mktemp("f") / "c.jsonl", rows)
    return [
        curation.curate(path, model=model, token_counter=count_words, n_train=6, n_test=3) for model in ("llama", "gpt")
    ]


MONEY = Example("Braces {x}, $5 and $6: “quotes” \\ and a very long title " * 4, 'It costs $5 "or" $6.\n' + "w " * 900)
DRAWN = {
    "visao_geral_tokens": lambda made, path: figures.token_overview(made, path),
    "exemplos_max_256_tokens": lambda made, path: figures.short_examples(made[1], path),
    "funil": lambda made, path: figures.funnel(made, path),
    "treinamento_llama3": lambda made, path: figures.training_structure(MONEY, "llama", path),
    "treinamento_gpt4": lambda made, path: figures.training_structure(MONEY, "gpt", path),
}


@pytest.mark.parametrize("name", DRAWN)
def test_each_figure_is_1600_pixels_wide_repeatable_and_no_text_leaves_it(name, made, tmp_path, monkeypatch):
    drawn, save = [], figures.Figure.savefig

    def keep(figure, *args, **options):
        save(figure, *args, **options)
        drawn.append(figure)

    monkeypatch.setattr(figures.Figure, "savefig", keep)
    first, second = (DRAWN[name](made, tmp_path / f"{name}{at}.png").read_bytes() for at in "ab")
    width, height = struct.unpack(">II", first[16:24])
    assert width == 1600 and 600 < height < 2600 and first == second
    box, (width, height) = drawn[0].get_tightbbox(), drawn[0].get_size_inches()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height


def test_rule_names_are_read_with_accents():
    assert figures.readable("conteudo_curto_apos_limpeza") == "conteúdo curto após limpeza"
    assert figures.readable("sem_palavra_chave") == "sem palavra-chave"
