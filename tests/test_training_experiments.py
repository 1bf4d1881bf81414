"""Experimentos do caderno 05: o que se decide sem treinar, e ensaios de verdade num modelo de brinquedo."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from test_comparison_study import make_run

from finetune_helpers import comparison, estimates, prompts, training
from finetune_helpers.errors import InputError, RunMismatchError
from finetune_helpers.portuguese import duration
from finetune_helpers.records import Example, read_json, read_jsonl, write_json, write_jsonl
from finetune_helpers.training import (
    budgets,
    conclusions,
    experiment_figures,
    experiments,
    profiles,
    study,
    trials,
    winner,
)

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("experiments_run.py")
SPY = """
import os, signal, sys
if os.environ.get("MORRE") and sys.orig_argv[-1].endswith(os.environ["MORRE"]):
    os.kill(os.getpid(), signal.SIGKILL)
def watch(event, given):
    if event == "open" and os.path.basename(str(given[0])).startswith("teste"):
        os.close(os.open(os.environ["ESPIAO"], os.O_CREAT | os.O_WRONLY))
        raise RuntimeError(f"o conjunto de teste foi aberto: {given[0]}")
sys.addaudithook(watch)
"""


def row(name: str, loss: float, **other: object) -> dict:
    """Um ensaio completo de duas medidas, a última a melhor."""
    curve = [{"step": 3, "epoch": 0.5, "loss": loss + 0.2}, {"step": 6, "epoch": 1.0, "loss": loss}]
    changes = {"learning_rate": 4e-3, "lora_r": 8, "lora_alpha": 16}
    known = {"trial": name, "kind": "busca", "of": "", "state": "complete", "reason": "", "changes": changes}
    known |= {"rows": 12, "curve": curve, "best": curve[-1], "seconds": 40.0, "train_seconds": 30.0, "steps": 6}
    return known | other


def change(kind: str, loss: float, **other: object) -> dict:
    """Uma mudança feita no ensaio ``busca-2``."""
    return row(f"{kind}-busca-2", loss, kind=kind, of="busca-2", **other)


SEARCHED = [
    row("busca-1", 4.2),
    row("busca-2", 4.0),
    row("busca-3", 4.4, state="pruned", reason="pior que a mediana"),
    row("busca-4", 0.0, state="failed", reason='=HYPERLINK("http://x","memória")', best=None, curve=[]),
]
SEEDS = [change("semente-2", 4.02), change("semente-3", 3.99)]


def made(folder: Path, rows: list[dict], **limits: float) -> experiments.Experiments:
    """Experimentos cujos ensaios já foram todos feitos."""
    write_jsonl(folder / trials.ROWS, rows)
    chosen = budgets.budget("demonstracao", **({"trials": 4, "minutes": 60} | limits))
    return experiments.Experiments(folder, folder / "treino.jsonl", profiles.BY_NAME["cpu"], chosen, 12)


def test_differences_within_the_spread_of_the_seeds_are_noise(tmp_path):
    rows = [*SEARCHED, *SEEDS, change("so-atencao", 4.01), change("neftune", 3.9), change("metade-das-linhas", 4.3)]
    found = conclusions.conclude(made(tmp_path, rows))
    assert found["spread"] == pytest.approx(0.03)
    assert {one["kind"]: one["verdict"] for one in found["changes"][2:]} == {
        "so-atencao": "dentro do ruído",
        "neftune": "melhor",
        "metade-das-linhas": "pior",
    }
    assert found["winner"]["trial"] == "neftune-busca-2" and found["winner"]["search_trial"] == "busca-2"
    assert found["left_out"] == ["um quarto das linhas", "DoRA"]
    assert "ficou de fora: um quarto das linhas, DoRA" in conclusions.describe(found)


def test_without_seeds_no_change_beats_the_search(tmp_path):
    found = conclusions.conclude(made(tmp_path, [*SEARCHED, change("neftune", 3.0)]))
    assert found["spread"] is None and found["winner"]["trial"] == "busca-2"
    assert found["changes"][0]["verdict"] == "sem as sementes, não se sabe"


@pytest.mark.parametrize(("end", "epochs"), [(4.01, None), (4.5, 0.5)])
def test_epochs_come_from_the_curve_only_when_it_turns_beyond_the_noise(tmp_path, end, epochs):
    curve = [{"step": 3, "epoch": 0.5, "loss": 4.0}, {"step": 6, "epoch": 1.0, "loss": end}]
    top = row("busca-2", 4.0, curve=curve, best=curve[0])
    found = conclusions.conclude(made(tmp_path, [top, *SEEDS], trials=1))
    assert found["winner"]["changes"].get("epochs") == epochs
    assert found["winner"]["best_epoch"] == 0.5


def test_the_summary_is_the_last_file_and_does_not_change(tmp_path):
    bench = made(tmp_path, [*SEARCHED, *SEEDS])
    conclusions.conclude(bench)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.json")}
    conclusions.conclude(bench)
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.json")} == before
    assert before.keys() == {"resumo.json", "vencedor.json"}


def test_all_failures_are_told_with_their_reasons(tmp_path):
    failed = row("busca-1", 0.0, state="failed", best=None, reason="a memória não bastou")
    with pytest.raises(InputError, match="busca-1: a memória não bastou"):
        conclusions.conclude(made(tmp_path, [failed]))


def test_no_trial_starts_that_would_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "run", lambda *given, **options: pytest.fail("começou um ensaio"))
    bench = made(tmp_path, SEARCHED, minutes=175 / 60, trials=9)
    assert experiments.search(bench) == SEARCHED
    assert experiments.vary(bench) == SEARCHED
    assert conclusions.conclude(bench)["left_out"][:2] == ["5 ensaios da busca", "outra semente"]


def test_a_smaller_trial_may_still_fit():
    assert budgets.expected(SEARCHED, 12) == pytest.approx(40.0)
    assert budgets.expected(SEARCHED, 3) == pytest.approx(17.5)
    assert experiments.fits(SEARCHED, 3, 20.0) and not experiments.fits(SEARCHED, 12, 20.0)
    assert budgets.expected([], 12) is None and not experiments.fits([], 12, 0.0)


def test_the_presentation_tells_time_cost_and_what_is_not_measured(tmp_path):
    t4 = replace(profiles.BY_NAME["t4"], epochs=1.0)
    text = budgets.presentation(budgets.budget("cafe"), t4, 48, [], tmp_path / "treino.jsonl")
    assert "1 h 25 min" in text and "US$ 0,15" in text and "unidades do Colab" in text
    assert "não medido nesta máquina" in text and "são todas as que há" in text
    assert "medido nesta rodada" in budgets.presentation(budgets.budget("cafe"), t4, 12, SEARCHED, tmp_path / "x")


def test_the_forecast_of_a_trial_counts_opening_its_process(tmp_path):
    write_json(tmp_path / "curadoria.json", {"treino": {"tokens": 1600, "linhas": 8}})
    rates = estimates.rates()
    seconds = 1 / rates["abrir um ensaio", "cpu"].per_second + 1600 / rates["treinar", "cpu"].per_second
    text = budgets.presentation(budgets.budget("demonstracao"), profiles.BY_NAME["cpu"], 8, [], tmp_path / "t.jsonl")
    assert f"cerca de {duration(seconds)}, estimativa: medido" in text and "1 época cada" in text


def test_an_unknown_budget_names_the_others():
    with pytest.raises(InputError, match="demonstracao, cafe, completo"):
        budgets.budget("infinito")


def test_the_search_starts_from_the_profile_and_stays_in_its_range():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = optuna.create_study()
    for _ in range(20):
        asked = study.suggest(journal.ask(), profiles.BY_NAME["t4"].learning_rate)
        assert 5e-5 <= asked["learning_rate"] <= 5e-4 and asked["lora_r"] in (8, 16, 32)
        assert asked["lora_alpha"] / asked["lora_r"] in (1, 2)


def test_the_worse_than_the_median_is_pruned(tmp_path):
    journal = study.resume(tmp_path)
    for losses in ((4.2, 4.0), (4.1, 3.9)):
        trial = study.ask(journal, profiles.BY_NAME["cpu"], 0)
        assert not any(study.prunes(trial, step, loss) for step, loss in enumerate(losses))
        journal.tell(trial, losses[-1])
    third = journal.ask()
    assert study.prunes(third, 0, 4.3)
    assert not study.prunes(journal.ask(), 0, 4.0)


def test_importance_needs_trials_and_says_when_they_are_few(tmp_path):
    assert conclusions.importance(tmp_path)["shares"] is None
    journal = study.resume(tmp_path)
    for place in range(10):
        trial = journal.ask()
        changes = study.suggest(trial, 2e-3)
        journal.tell(trial, abs(changes["learning_rate"] - 1e-3) + place / 1e6)
    found = conclusions.importance(tmp_path)
    assert set(found["shares"]) == {"learning_rate", "lora_r", "alpha_ratio"}
    assert "10 ensaios completos" in found["note"] and "indício" in found["note"]


def test_the_tables_are_written_in_portuguese(tmp_path):
    found = conclusions.conclude(made(tmp_path, [*SEARCHED, *SEEDS, change("metade-das-linhas", 4.3, rows=6)]))
    last = conclusions.changes_table(found)[-1]
    assert (last["mudança"], last["linhas"], last["perda"]) == ("metade das linhas", "6", "4,300")
    assert re.fullmatch(r"0,0\d*", conclusions.table(tmp_path)[0]["taxa"])
    assert not re.search(r"\d\.\d", str(conclusions.changes_table(found)) + str(conclusions.table(tmp_path)))


def test_the_figure_has_the_same_bytes_every_time(tmp_path):
    rows = [*SEARCHED, *SEEDS, change("metade-das-linhas", 4.3, rows=6)]
    conclusions.conclude(made(tmp_path, rows))
    first = experiment_figures.write_figure(tmp_path, tmp_path / "a.png").read_bytes()
    write_jsonl(tmp_path / trials.ROWS, [one | {"seconds": one["seconds"] + 1} for one in rows])
    assert experiment_figures.write_figure(tmp_path, tmp_path / "b.png").read_bytes() == first


def crowned(run: Path, **other: object) -> Path:
    """Uma rodada com um vencedor."""
    changes = {"learning_rate": 3e-3, "lora_r": 32, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"]}
    found = {"trial": "busca-7", "base_profile": "cpu", "model": "embutido", "changes": changes}
    write_json(run / winner.FOLDER / winner.FILE, found | other)
    return run


def test_the_winner_is_a_profile_by_name(tmp_path):
    run = crowned(tmp_path / "r")
    chosen = training.choose("vencedor", run=run, max_steps=5)
    assert (chosen.learning_rate, chosen.lora_r, chosen.lora_alpha, chosen.max_steps) == (3e-3, 32, 64, 5)
    assert training.lora_arguments(chosen)["target_modules"] == ["q_proj", "v_proj"]
    assert "busca-7" in training.describe(chosen)
    assert training.choose("vencedor:r", run=tmp_path / "outra") == training.choose("vencedor", run=run)


def test_the_winner_trains_by_command_too(tmp_path):
    from finetune_helpers.training.__main__ import from_parameters

    options = {"PERFIL": "vencedor", "MOTOR": "transformers", "MODELO": "", "EPOCAS": 0, "MAX_PASSOS": 3}
    chosen = from_parameters(options, crowned(tmp_path / "r"))
    assert (chosen.lora_r, chosen.engine, chosen.max_steps) == (32, "transformers", 3)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("vencedor", InputError, "caderno 05"),
        ("vencedor:outra", InputError, "outra não tem"),
        ("vencedor:../fora", InputError, "caderno 05"),
    ],
)
def test_a_run_without_winner_says_what_to_do(tmp_path, name, error, message):
    crowned(tmp_path.parent / "fora")
    with pytest.raises(error, match=message):
        training.choose(name, run=tmp_path / "r")


def test_the_winner_of_another_model_is_refused(tmp_path):
    with pytest.raises(RunMismatchError, match="outro/modelo"):
        training.choose("vencedor", run=crowned(tmp_path / "r", model="outro/modelo"))


def test_the_sheet_is_there_only_when_the_run_has_experiments(tmp_path):
    from openpyxl import load_workbook

    run = make_run(tmp_path, n=8, training=12)
    assert "Hiperparâmetros" not in load_workbook(comparison.write_workbook(run)).sheetnames
    conclusions.conclude(made(run / winner.FOLDER, [*SEARCHED, *SEEDS]))
    book = load_workbook(comparison.write_workbook(run))
    cells = [cell for line in book["Hiperparâmetros"].iter_rows() for cell in line if cell.value is not None]
    assert {"busca-1", "busca-2", "podado", "falhou", "outra semente"} <= {cell.value for cell in cells}
    assert [cell.coordinate for cell in cells if cell.data_type == "f"] == []
    assert any(str(cell.value).startswith("=HYPERLINK") for cell in cells)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Uma pasta com linhas de treino e, no lugar do teste, o que nenhum leitor aceitaria."""
    root = tmp_path_factory.mktemp("experimentos")
    rows = [prompts.to_alpaca(Example(f"Title {n}", f"Book {n} tells of {n} travellers.")) for n in range(24)]
    write_jsonl(root / "dados" / "r" / "llama" / "treino.jsonl", rows)
    for name in ("llama", "comparacao"):
        (root / "dados" / "r" / name).mkdir(exist_ok=True)
        (root / "dados" / "r" / name / "teste.jsonl").write_text("isto não é para ler")
    (root / "espiao").mkdir()
    (root / "espiao" / "sitecustomize.py").write_text(SPY)
    return root


def watched(root: Path, **more: str) -> dict[str, str]:
    """O ambiente em que abrir o conjunto de teste, em qualquer processo, deixa uma marca e falha."""
    return os.environ | {"PYTHONPATH": str(root / "espiao"), "ESPIAO": str(root / "aberto")} | more


def started(root: Path, model: Path, total: int, **more: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(root), str(model), str(total)]
    return subprocess.Popen(command, env=watched(root, **more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen) -> None:
    _, error = process.communicate(timeout=400)
    assert process.returncode == 0, error.decode()[-2000:]


def until(happened, seconds: float) -> bool:
    """Espera que algo aconteça, por no máximo ``seconds``."""
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(happened())


def orphans(root: Path) -> list[int]:
    """Ensaios desta pasta que ainda rodam."""
    alive = (one for one in psutil.process_iter(["cmdline", "status"]) if one.info["status"] != psutil.STATUS_ZOMBIE)
    return [one.pid for one in alive if any(str(root / "resultados") in part for part in one.info["cmdline"] or [])]


@pytest.mark.treino
def test_the_spy_sees_the_test_set(data):
    code = f"open({str(data / 'dados' / 'r' / 'llama' / 'teste.jsonl')!r})"
    seen = subprocess.run([sys.executable, "-c", code], env=watched(data), capture_output=True, text=True)
    assert "o conjunto de teste foi aberto" in seen.stderr and (data / "aberto").exists()
    (data / "aberto").unlink()


@pytest.mark.treino
@pytest.mark.falhas
def test_a_search_killed_and_resumed_counts_each_trial_once_and_never_reads_the_test_set(data, toy_model):
    folder = data / "resultados" / "r" / winner.FOLDER
    killed = started(data, toy_model, 3)
    assert until((folder / trials.FOLDERS / "busca-2" / "pedido.json").exists, 300)
    killed.kill()
    killed.communicate()
    assert until(lambda: not orphans(data), 20), "o ensaio sobreviveu a quem o pediu"
    ended(started(data, toy_model, 3, MORRE="busca-4"))
    rows = {one["trial"]: one for one in read_jsonl(folder / trials.ROWS)}
    assert {name: one["state"] for name, one in rows.items()} == {
        "busca-1": "complete",
        "busca-2": "interrupted",
        "busca-3": "complete",
        "busca-4": "failed",
    }
    assert rows["busca-3"]["changes"] == rows["busca-2"]["changes"] != rows["busca-1"]["changes"]
    assert "falta de memória" in rows["busca-4"]["reason"]
    assert [len(one["curve"]) for one in rows.values()] == [2, 0, 2, 0]
    before = (folder / trials.ROWS).read_bytes()
    ended(started(data, toy_model, 3))
    assert (folder / trials.ROWS).read_bytes() == before
    assert not (data / "aberto").exists()
    bench = made(folder, list(rows.values()), trials=3)
    found = conclusions.conclude(replace(bench, profile=replace(bench.profile, model=str(toy_model))))
    chosen = training.choose("vencedor", run=folder.parent, model=str(toy_model))
    assert chosen.learning_rate == found["winner"]["changes"]["learning_rate"]


def tried(data: Path, toy_model: Path, name: str, **options) -> dict:
    folder = data / "avulsos"
    profile = training.choose("cpu", engine="transformers", model=str(toy_model), max_steps=2)
    request = trials.Request(name, "busca", {"learning_rate": 1e-2, "lora_r": 8, "lora_alpha": 8}, 6)
    return trials.run(
        request, folder, data / "dados" / "r" / "llama" / "treino.jsonl", profile, evaluations=2, **options
    )


@pytest.mark.treino
def test_a_trial_is_pruned_by_what_it_reports_while_it_trains(data, toy_model):
    seen = []

    def stop(step: int, loss: float) -> bool:
        seen.append((step, loss))
        return True

    found = tried(data, toy_model, "busca-1", seconds=300, stop=stop)
    # O ensaio de brinquedo acaba em milésimos: podado no meio ou já no fim, a medida chegou.
    assert found["state"] in ("pruned", "complete") and seen[0][0] == 1 and seen[0][1] > 1
    assert found["best"]["loss"] == min(point["loss"] for point in found["curve"])
    assert not (data / "avulsos" / trials.FOLDERS / "busca-1").exists()


@pytest.mark.treino
def test_a_trial_that_outlasts_the_budget_is_cut_and_leaves_no_process(data, toy_model):
    found = tried(data, toy_model, "busca-2", seconds=1)
    assert (found["state"], found["best"]) == ("failed", None) and "orçamento" in found["reason"]
    assert found["seconds"] < 5
    left = (one.info["cmdline"] or [] for one in psutil.process_iter(["cmdline"]))
    assert not any("avulsos" in part for command in left for part in command)


@pytest.mark.treino
@pytest.mark.longo
def test_the_notebook_runs_with_every_change(data, toy_model, tmp_path):
    import papermill

    shutil.copytree(data / "dados" / "r", tmp_path / "dados" / "r")
    known = {"RODADA": "r", "MODELO": str(toy_model), "N_ENSAIOS": 1, "MAX_PASSOS": 2, "MINUTOS": 60}
    assert set(known) <= set(papermill.inspect_notebook(ROOT / "colab" / "05_hiperparametros.ipynb"))
    given = [part for name, value in known.items() for part in ("-p", name, str(value))]
    command = [sys.executable, "-m", "papermill", str(ROOT / "colab" / "05_hiperparametros.ipynb")]
    finished = subprocess.run(
        [*command, str(tmp_path / "saida.ipynb"), *given, "--kernel", "python3"],
        env=os.environ | {"FINETUNE_PASTA": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    folder = tmp_path / "resultados" / "r" / winner.FOLDER
    found = read_json(folder / conclusions.FILE)
    assert {one["kind"] for one in found["changes"]} == {kind for kind, *_ in experiments.CHANGES}
    assert [(one["kind"], one["reason"]) for one in found["changes"] if one["state"] != "complete"] == []
    assert found["left_out"] == [] and found["spread"] > 0
    assert (tmp_path / "resultados" / "r" / "figuras" / "hiperparametros.png").stat().st_size > 10_000
    assert "Perfil cpu" in json.dumps(json.loads((tmp_path / "saida.ipynb").read_text()), ensure_ascii=False)
