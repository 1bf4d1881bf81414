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

from finetune_helpers import prompts, training
from finetune_helpers.errors import InputError, RunMismatchError
from finetune_helpers.records import Example, read_json, write_json, write_jsonl
from finetune_helpers.training import budgets, findings, profiles, search, trial

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).with_name("experiments_run.py")
CPU = profiles.BY_NAME["cpu"]
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


def noted(bench: search.Bench, loss: float, *, state: str = "COMPLETE", kind: str = "", **other) -> None:
    """Anota no diário um ensaio de duas medidas, a última a melhor; ``kind`` é o de uma mudança em ``busca-2``."""
    import optuna

    study = search.open_study(bench, search.CHANGE if kind else search.SEARCH)
    trial = study.ask()
    changes = {"learning_rate": 4e-3, "lora_r": 8, "lora_alpha": 16}
    if not kind:
        search.suggest(trial, 2e-3)
    curve = [{"step": 3, "epoch": 0.5, "loss": loss + 0.2}, {"step": 6, "epoch": 1.0, "loss": loss}]
    known = {"changes": changes, "rows": 12, "curve": curve, "reason": "", "seconds": 40.0}
    known |= {"result": {"train_seconds": 30.0, "steps": 6}} | ({"kind": kind, "of": "busca-2"} if kind else {})
    for key, value in (known | other).items():
        trial.set_user_attr(key, value)
    study.tell(trial, loss if state == "COMPLETE" else None, state=optuna.trial.TrialState[state])


@pytest.fixture
def bench(tmp_path) -> search.Bench:
    """Quatro ensaios já feitos: dois completos, um podado e um que falhou."""
    budget = budgets.budget("demonstracao", trials=4, minutes=60)
    bench = search.Bench(tmp_path / "r" / search.FOLDER, tmp_path / "treino.jsonl", CPU, budget, 12)
    noted(bench, 4.2)
    noted(bench, 4.0)
    noted(bench, 4.4, state="PRUNED", reason="pior que a mediana")
    noted(bench, 0.0, state="FAIL", reason="a memória não bastou", curve=[], result={})
    return bench


def seeds(bench: search.Bench) -> None:
    noted(bench, 4.02, kind="semente-2")
    noted(bench, 3.99, kind="semente-3")


def test_differences_within_the_spread_of_the_seeds_are_noise(bench):
    seeds(bench)
    for kind, loss in (("so-atencao", 4.01), ("neftune", 3.9), ("metade-das-linhas", 4.3)):
        noted(bench, loss, kind=kind)
    summary = findings.conclude(bench)
    assert summary["spread"] == pytest.approx(0.03)
    assert {row["kind"]: row["verdict"] for row in summary["changes"][2:]} == {
        "so-atencao": "dentro do ruído",
        "neftune": "melhor",
        "metade-das-linhas": "pior",
    }
    assert summary["winner"]["trial"] == "neftune-busca-2" and summary["winner"]["search_trial"] == "busca-2"
    assert summary["winner"]["base_id"] == training.base_id(CPU)
    assert summary["left_out"] == ["um quarto das linhas", "DoRA"]
    text = findings.describe(summary)
    assert "de 4,200 (o perfil sem mudanças) para 3,900" in text and "ficou de fora: um quarto das linhas, DoRA" in text


@pytest.mark.parametrize(
    ("difference", "spread", "verdict"),
    [
        (0.03, 0.03, "dentro do ruído"),
        (-0.03, 0.03, "dentro do ruído"),
        (-0.031, 0.03, "melhor"),
        (0.031, 0.03, "pior"),
    ],
)
def test_a_difference_as_large_as_the_noise_is_still_noise(difference, spread, verdict):
    assert findings._verdict("dora", difference, spread) == verdict
    assert findings._verdict("semente-2", difference, spread) == "é o próprio ruído"


def test_without_seeds_no_change_beats_the_search(bench):
    noted(bench, 3.0, kind="neftune")
    summary = findings.conclude(bench)
    assert summary["spread"] is None and summary["winner"]["trial"] == "busca-2"
    assert summary["changes"][0]["verdict"] == "sem as sementes, não se sabe"


@pytest.mark.parametrize(("end", "epochs"), [(4.01, None), (4.5, 0.5)])
def test_epochs_come_from_the_curve_only_when_it_turns_beyond_the_noise(bench, end, epochs):
    curve = [{"step": 3, "epoch": 0.5, "loss": 3.9}, {"step": 6, "epoch": 1.0, "loss": end - 0.1}]
    noted(bench, 3.9, curve=curve)
    for kind, loss in (("semente-2", 3.92), ("semente-3", 3.89)):
        noted(bench, loss, kind=kind, of="busca-5")
    winner = findings.conclude(bench)["winner"]
    assert winner["changes"].get("epochs") == epochs and winner["best_epoch"] == 0.5


def test_the_summary_comes_from_the_journal_alone_and_does_not_change(bench):
    seeds(bench)
    findings.conclude(bench)
    before = {path.name: path.read_bytes() for path in bench.folder.iterdir()}
    findings.conclude(bench)
    assert {path.name: path.read_bytes() for path in bench.folder.iterdir()} == before
    assert before.keys() == {"estudo.log", "resumo.json", "vencedor.json"}


def test_all_failures_are_told_with_their_reasons(tmp_path):
    lost = search.Bench(tmp_path, tmp_path / "t.jsonl", CPU, budgets.budget("cafe"), 12)
    noted(lost, 0.0, state="FAIL", reason="a memória não bastou", curve=[], result={})
    with pytest.raises(InputError, match="busca-1: a memória não bastou"):
        findings.conclude(lost)


def test_trials_of_another_model_or_profile_are_never_compared(bench):
    with pytest.raises(RunMismatchError, match=r"learning_rate: era 0.002, agora 0.001.*`run`"):
        search.rows(replace(bench, profile=replace(CPU, learning_rate=1e-3)))
    assert len(search.rows(replace(bench, profile=replace(CPU, save_minutes=9.0)))) == 4


def test_no_trial_starts_that_would_not_fit(bench, monkeypatch):
    monkeypatch.setattr(trial, "_start", lambda *asked: pytest.fail("começou um ensaio"))
    tight = replace(bench, budget=replace(bench.budget, minutes=175 / 60, trials=9))
    assert [row["trial"] for row in search.search(tight)] == ["busca-1", "busca-2", "busca-3", "busca-4"]
    assert len(search.vary(tight)) == 4
    assert findings.conclude(tight)["left_out"][:2] == ["5 ensaios da busca", "outra semente"]


def test_a_smaller_trial_may_still_fit(bench):
    rows = search.rows(bench)
    assert (search.expected(rows, 12), search.expected(rows, 3)) == (40.0, 17.5)
    assert search.fits(rows, 3, 17.6) and not search.fits(rows, 3, 17.5)
    assert search.expected([], 12) is None and not search.fits([], 12, 0.0)


def test_the_presentation_tells_time_cost_and_what_is_not_measured(bench):
    t4 = replace(CPU, price_sku="T4")
    new = search.Bench(bench.folder / "novo", bench.data, t4, budgets.budget("cafe"), 48)
    text = findings.presentation(new)
    assert "1 h 25 min" in text and "unidades do Colab" in text
    assert "não medido nesta máquina" in text and "são todas as que há" in text
    assert "medido nesta rodada" in findings.presentation(bench) and "sem cobrança" in findings.presentation(bench)


def test_an_unknown_budget_names_the_others():
    with pytest.raises(InputError, match="demonstracao, cafe, completo"):
        budgets.budget("infinito")
    assert budgets.budget("cafe", minutes=3, trials=2).seconds == 180


def test_the_search_starts_from_the_profile_and_stays_in_its_range():
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study()
    for _ in range(20):
        asked = search.suggest(study.ask(), profiles.BY_NAME["t4"].learning_rate)
        assert 5e-5 <= asked["learning_rate"] <= 5e-4 and asked["lora_r"] in (8, 16, 32)
        assert asked["lora_alpha"] / asked["lora_r"] in (1, 2)


def test_importance_needs_trials_and_says_when_they_are_few(bench):
    assert findings.importance(bench)["shares"] is None
    for place in range(6):
        noted(bench, 4.0 + place / 10)
    found = findings.importance(bench)
    assert set(found["shares"]) == {"learning_rate", "lora_r", "alpha_ratio"}
    assert "8 ensaios completos" in found["note"] and "indício" in found["note"]


def test_the_tables_are_written_in_portuguese_and_the_figure_has_the_same_bytes(bench, tmp_path):
    seeds(bench)
    noted(bench, 4.3, kind="metade-das-linhas", rows=6)
    summary = findings.conclude(bench)
    last = findings.changes_table(summary)[-1]
    assert (last["mudança"], last["linhas"], last["perda"]) == ("metade das linhas", "6", "4,300")
    assert re.fullmatch(r"0,0\d*", findings.table(summary["trials"])[0]["taxa"])
    assert not re.search(r"\d\.\d", str(findings.changes_table(summary)) + str(findings.table(summary["trials"])))
    first, second = (findings.write_figure(summary, tmp_path / name).read_bytes() for name in ("a.png", "b.png"))
    assert first == second and len(first) > 10_000


def crowned(run: Path, **other: object) -> Path:
    """Uma rodada com um vencedor."""
    changes = {"learning_rate": 3e-3, "lora_r": 32, "lora_alpha": 64, "target_modules": ["q_proj", "v_proj"]}
    found = {"trial": "busca-7", "base_profile": "cpu", "model": "embutido", "changes": changes}
    write_json(run / profiles.WINNER_FILE, found | other)
    return run


def test_the_winner_is_a_profile_by_name_and_its_name_makes_it_again(tmp_path):
    from finetune_helpers.training.__main__ import from_parameters

    run = crowned(tmp_path / "r")
    chosen = training.choose("vencedor", run=run, max_steps=5)
    assert (chosen.learning_rate, chosen.lora_r, chosen.lora_alpha, chosen.max_steps) == (3e-3, 32, 64, 5)
    assert training.lora_arguments(chosen)["target_modules"] == ["q_proj", "v_proj"]
    assert "busca-7" in training.describe(chosen) and chosen.origin == "vencedor:r"
    options = {"PERFIL": chosen.origin, "MOTOR": "", "MODELO": "", "EPOCAS": 0, "MAX_PASSOS": 5}
    assert from_parameters(options, tmp_path / "outra") == chosen


@pytest.mark.parametrize(
    ("name", "message"), [("vencedor", "caderno 05"), ("vencedor:outra", "outra não tem"), ("vencedor:../fora", "05")]
)
def test_a_run_without_winner_says_what_to_do(tmp_path, name, message):
    crowned(tmp_path.parent / "fora")
    with pytest.raises(InputError, match=message):
        training.choose(name, run=tmp_path / "r")


def test_the_winner_of_another_model_is_refused(tmp_path):
    with pytest.raises(RunMismatchError, match="outro/modelo"):
        training.choose("vencedor", run=crowned(tmp_path / "r", model="outro/modelo"))


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
    paths = f"{root / 'espiao'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return os.environ | {"PYTHONPATH": paths, "ESPIAO": str(root / "aberto")} | more


def started(root: Path, model: Path, total: int, **more: str) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(root), str(model), str(total)]
    return subprocess.Popen(command, env=watched(root, **more), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen) -> None:
    _, error = process.communicate(timeout=600)
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
@pytest.mark.falhas
def test_a_search_killed_and_resumed_counts_each_trial_once_and_never_reads_the_test_set(data, toy_model):
    code = f"open({str(data / 'dados' / 'r' / 'llama' / 'teste.jsonl')!r})"
    seen = subprocess.run([sys.executable, "-c", code], env=watched(data), capture_output=True, text=True)
    assert "o conjunto de teste foi aberto" in seen.stderr and (data / "aberto").exists(), "o espião não vê"
    (data / "aberto").unlink()
    folder = data / "resultados" / "r" / search.FOLDER
    killed = started(data, toy_model, 3)
    assert until((folder / search.FOLDERS / "busca-2" / "pedido.json").exists, 300)
    killed.kill()
    killed.communicate()
    assert until(lambda: not orphans(data), 20), "o ensaio sobreviveu a quem o pediu"
    ended(started(data, toy_model, 3, MORRE="busca-4"))
    budget = budgets.budget("demonstracao", minutes=60, trials=3)
    profile = budgets.base_profile(budget, engine="transformers", model=str(toy_model), max_steps=2)
    bench = search.prepare(folder.parent, data / "dados" / "r" / "llama" / "treino.jsonl", budget, profile)
    rows = {row["trial"]: row for row in search.rows(bench)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "busca-1": "complete",
        "busca-2": "interrupted",
        "busca-3": "complete",
        "busca-4": "failed",
    }
    assert rows["busca-3"]["changes"] == rows["busca-2"]["changes"] != rows["busca-1"]["changes"]
    assert "falta de memória" in rows["busca-4"]["reason"]
    assert [len(row["curve"]) for row in rows.values()] == [2, 0, 2, 0]
    before = search.rows(bench)
    ended(started(data, toy_model, 3))
    assert search.rows(bench) == before and not (data / "aberto").exists()
    winner = findings.conclude(bench)["winner"]
    chosen = training.choose("vencedor", run=folder.parent, model=str(toy_model))
    assert chosen.learning_rate == winner["changes"]["learning_rate"]


def tried(data: Path, toy_model: Path, seconds: float, monkeypatch) -> search.Row:
    """Um ensaio avulso, por até ``seconds``, num estudo que acharia qualquer perda ruim."""
    import optuna

    profile = training.choose("cpu", engine="transformers", model=str(toy_model), max_steps=2)
    budget = budgets.budget("demonstracao", minutes=60)
    bench = search.Bench(
        data / f"avulso-{seconds}", data / "dados" / "r" / "llama" / "treino.jsonl", profile, budget, 6
    )
    monkeypatch.setattr(optuna.trial.Trial, "should_prune", lambda trial: True)
    study = search.open_study(bench)
    attempt = study.ask()
    with pytest.raises((optuna.TrialPruned, search.TrialFailed)) as raised:
        search._train(bench, attempt, search.suggest(attempt, 1e-2), 6, seconds)
    pruned = raised.type is optuna.TrialPruned
    study.tell(attempt, state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.FAIL)
    assert not orphans(data)
    return search.rows(bench)[0]


@pytest.mark.treino
def test_a_trial_is_pruned_by_what_it_reports_and_leaves_no_folder(data, toy_model, monkeypatch):
    # Atrasar a leitura deixaria o ensaio de brinquedo acabar antes de ser podado.
    row = tried(data, toy_model, 300, monkeypatch)
    assert row["reason"] == trial.WORSE and row["curve"][0]["step"] == 1 and row["curve"][0]["loss"] > 1
    assert list((data / "avulso-300" / search.FOLDERS).iterdir()) == []


@pytest.mark.treino
def test_a_trial_that_outlasts_the_budget_is_cut_and_leaves_no_process(data, toy_model, monkeypatch):
    row = tried(data, toy_model, 1, monkeypatch)
    assert row["curve"] == [] and "orçamento" in row["reason"]


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
        timeout=1800,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    summary = read_json(tmp_path / "resultados" / "r" / search.FOLDER / findings.SUMMARY)
    assert {row["kind"] for row in summary["changes"]} == set(search.CHANGES)
    assert [(row["kind"], row["reason"]) for row in summary["changes"] if row["state"] != "complete"] == []
    assert summary["left_out"] == [] and summary["spread"] > 0
    assert (tmp_path / "resultados" / "r" / "figuras" / "hiperparametros.png").stat().st_size > 10_000
    assert "Perfil cpu" in json.dumps(json.loads((tmp_path / "saida.ipynb").read_text()), ensure_ascii=False)
