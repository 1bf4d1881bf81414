"""A tabela dos quatro critérios, as figuras, o README conferido e a leveza da importação."""

import subprocess
import sys

import pytest
from openpyxl import load_workbook
from test_comparison_study import make_run

from finetune_helpers import comparison, prompts, records
from finetune_helpers.comparison import figures, headlines, readme, results, study
from finetune_helpers.errors import InputError


def test_every_system_has_the_four_criteria(tmp_path):
    rows = comparison.headline(make_run(tmp_path))
    assert len(rows) == 9 and all(list(row) == list(headlines.COLUMNS) for row in rows)
    assert "chrF++" in rows[1]["Precisão"] and "min" in rows[1]["Eficiência no treinamento"]
    assert "US$" in rows[1]["Custo operacional"] and "32 prompts" in rows[1]["Flexibilidade"]


def test_each_system_names_the_model_behind_it(tmp_path):
    run = make_run(tmp_path)
    report = run / "llama3" / "treino.json"
    records.write_json(report, records.read_json(report) | {"model": "unsloth/llama-3-8b-bnb-4bit"})
    named = {row["Sistema"]: row["Modelo"] for row in comparison.headline(run)}
    assert named["LLaMA 3, base"] == named["LLaMA 3, ajustado"] == "llama-3-8b-bnb-4bit"
    assert named["Título repetido"] == "—"


def test_what_did_not_run_says_so_and_has_no_digit(tmp_path):
    rows = {row["Sistema"]: row for row in comparison.headline(make_run(tmp_path, arms=("llama3",)))}
    absent = rows["GPT, ajustado"]
    assert {absent[column] for column in headlines.COLUMNS[1:]} == {"não executado"}


def test_a_run_without_training_report_still_compares(tmp_path):
    run = make_run(tmp_path)
    (run / "llama3" / "treino.json").unlink()
    rows = {row["Sistema"]: row for row in comparison.headline(run)}
    assert rows["LLaMA 3, ajustado"]["Eficiência no treinamento"] == "não executado"
    assert rows["LLaMA 3, ajustado"]["Modelo"] == "não informado"
    assert comparison.write_workbook(run).is_file()


def test_numbers_are_written_the_brazilian_way():
    assert headlines.number(1234567.891, 2) == "1.234.567,89"


def test_forgetting_counts_the_prompts_lost_and_gained(tmp_path):
    found = results.compute(study.read_study(make_run(tmp_path)))
    for change in results.forgetting(found):
        assert change.tuned_passed - change.base_passed == change.gained - change.lost
        assert change.n == 18


def test_figures_are_drawn_for_what_ran(tmp_path):
    paths = figures.write_figures(make_run(tmp_path))
    assert [path.stem for path in paths] == ["perda", "diferencas", "flexibilidade", "equilibrio"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_no_figure_is_drawn_of_nothing(tmp_path):
    assert figures.write_figures(make_run(tmp_path, arms=())) == []


@pytest.fixture
def published(tmp_path):
    run, page = make_run(tmp_path), tmp_path / "README.md"
    page.write_text(f"# Projeto\n\n{readme.START}\n{readme.END}\n\nfim\n", encoding="utf-8")
    comparison.write_workbook(run)
    readme.write(page, run)
    return run, page


def test_readme_run_and_workbook_agree(published):
    run, page = published
    assert readme.disagreements(page, run) == [] and readme.main([str(page), str(run)]) == 0
    assert page.read_text(encoding="utf-8").endswith(f"{readme.END}\n\nfim\n")


def test_an_edited_readme_fails(published):
    run, page = published
    page.write_text(page.read_text(encoding="utf-8").replace("chrF++ ", "chrF++ 9"), encoding="utf-8")
    assert readme.main([str(page), str(run)]) == 1


def test_a_workbook_of_other_numbers_fails(published):
    run, page = published
    book = load_workbook(run / "comparacao.xlsx")
    book["Métricas"]["F5"].value += 1
    book.save(run / "comparacao.xlsx")
    assert "chrf" in readme.disagreements(page, run)[0]


def test_a_readme_without_marks_says_what_to_do(tmp_path):
    (tmp_path / "README.md").write_text("nada", encoding="utf-8")
    with pytest.raises(InputError, match="marcas"):
        readme.write(tmp_path / "README.md", make_run(tmp_path))


def test_few_shot_questions_keep_the_items_and_hide_their_descriptions(tmp_path):
    run = make_run(tmp_path, n=6)
    data = run.parents[1] / "dados" / "r1"
    asked = comparison.few_shot(data)
    items = records.read_jsonl(data / "comparacao" / "teste.jsonl")
    assert [question.item_id for question in asked] == [item["item_id"] for item in items]
    assert all(question.instruction.count("\nDescription: ") == 3 for question in asked)
    assert not any(item["content"] in prompts.alpaca_prompt(q) for item, q in zip(items, asked, strict=True))


def test_importing_the_wing_loads_nothing_heavy():
    heavy = "{'openpyxl', 'scipy', 'matplotlib', 'torch', 'pandas', 'sacrebleu', 'openai', 'numpy', 'transformers'}"
    code = f"import sys, finetune_helpers.comparison; print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
