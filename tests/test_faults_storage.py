"""O disco cheio, a pasta que some e o relógio que pula, peça por peça: uma mensagem, nada pela metade, e continua."""

import ast
import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
from fault_storage import fill, mounted, unmount

from finetune_helpers import answers, curation, gpt, prompts, records, runs
from finetune_helpers.errors import MachineError, StorageError
from finetune_helpers.gpt import job as gpt_job
from finetune_helpers.training.measures import TimedSave

SOURCE = Path(records.__file__).parents[1]
ROW = {"text": "ção " * 100}


@pytest.fixture
def disk(tmp_path):
    """Um disco de 4 MB."""
    with mounted(tmp_path / "disco", "4m") as place:
        yield place


def partial(folder: Path) -> list[str]:
    """O que uma gravação deixou pela metade."""
    return [path.name for path in folder.rglob("*") if "parcial" in path.name]


def test_a_line_that_does_not_fit_leaves_no_trace(disk):
    path = disk / "respostas.jsonl"
    records.append_jsonl(path, [ROW])
    before = path.read_bytes()
    with fill(disk), pytest.raises(StorageError, match=r"Disco cheio ao gravar .*respostas\.jsonl"):
        records.append_jsonl(path, [ROW] * 20)
    assert path.read_bytes() == before
    records.append_jsonl(path, [ROW])
    assert records.read_jsonl(path) == [ROW, ROW]


def test_a_file_that_does_not_fit_leaves_the_old_one(disk):
    path = records.write_json(disk / "treino.json", ROW)
    with fill(disk), pytest.raises(StorageError, match="Disco cheio"):
        records.write_json(path, [ROW] * 100)
    assert records.read_json(path) == ROW and partial(disk) == []


def test_curation_on_a_full_disk_leaves_no_mark_and_then_the_same_files(disk, tmp_path):
    chosen = curation.curate("amostra", model="gpt", n_train=17, n_test=5)
    with fill(disk), pytest.raises(StorageError, match="Disco cheio"):
        curation.write(chosen, disk / "gpt")
    assert partial(disk) == [] and not (disk / "gpt" / "curadoria.json").exists()
    folders = curation.write(chosen, disk / "gpt"), curation.write(chosen, tmp_path / "inteiro")
    again, whole = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert again == whole


def test_answers_stop_at_a_full_disk_and_go_on_with_space(disk):
    asked = [prompts.Question(item_id=f"i{n}", instruction="x" * (20 - n)) for n in range(6)]
    calls = []

    def reply(batch):
        calls.append([one.item_id for one in batch])
        return [answers.Answer("x" * 2000, 1, 1, 0.1, "stop", "m") for _ in batch]

    answers.answer_all(asked[:2], "s", reply, disk / "r.jsonl", batch_size=2)
    with fill(disk), pytest.raises(StorageError):
        answers.answer_all(asked, "s", reply, disk / "r.jsonl", batch_size=2)
    assert len(answers.read(disk / "r.jsonl")) == 2
    assert len(answers.answer_all(asked, "s", reply, disk / "r.jsonl", batch_size=2)) == 6
    assert calls == [["i0", "i1"], ["i2", "i3"], ["i2", "i3"], ["i4", "i5"]]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "cheio"), "Disco cheio"),
        (OSError(errno.EDQUOT, "cota"), "Disco cheio"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "Disco cheio"),
        (OSError(errno.EIO, "erro de leitura"), "não pode ser usada"),
        (OSError(errno.ENOTCONN, "desligado"), "monte-o de novo"),
    ],
)
def test_what_the_disk_denies_is_an_instruction(tmp_path, error, message):
    with pytest.raises(StorageError, match=message) as caught, records.storage(tmp_path / "x"):
        raise error
    assert caught.value.__cause__ is error


def test_another_failure_passes_as_it_is(tmp_path):
    with pytest.raises(KeyError), records.storage(tmp_path / "x"):
        raise KeyError("outra")


def test_a_drive_that_goes_away_is_said_and_nothing_is_written_in_its_place(tmp_path):
    drive, place = tmp_path / "drive", tmp_path / "montado"
    drive.mkdir()
    with mounted(place, drive):
        run = runs.open_run(place / "resultados" / "turma", "02_treino_llama3", {})
        records.append_jsonl(run / "llama3" / "respostas.jsonl", [ROW])
        unmount(place)
        for attempt in (
            lambda: records.append_jsonl(run / "llama3" / "respostas.jsonl", [ROW]),
            lambda: records.write_json(place / "dados" / "turma" / "curadoria.json", ROW),
            lambda: records.read_jsonl(run / "llama3" / "respostas.jsonl"),
        ):
            with pytest.raises(StorageError, match="sumiu ou não pode ser lida"):
                attempt()
        assert list(place.iterdir()) == []
    with mounted(place, drive):
        runs.open_run(run, "02_treino_llama3", {})
        records.append_jsonl(run / "llama3" / "respostas.jsonl", [ROW])
        assert records.read_jsonl(run / "llama3" / "respostas.jsonl") == [ROW, ROW]
        runs.close_run(run)
    assert not (drive / "resultados" / "turma" / runs.OWNER).exists()


def test_what_the_trainer_wrote_in_the_place_of_a_lost_drive_is_erased_and_the_training_stops(tmp_path):
    drive, place = tmp_path / "drive", tmp_path / "montado"
    drive.mkdir()
    with mounted(place, drive):
        run = runs.open_run(place / "resultados" / "turma", "02_treino_llama3", {})
        points = run / "llama3" / "pontos"
        arguments, state = SimpleNamespace(output_dir=str(points)), SimpleNamespace(global_step=7)
        records.write_json(points / "checkpoint-7" / "trainer_state.json", {})
        TimedSave(0.0).on_save(arguments, state, None)  # com o Drive no lugar, o ponto fica
        unmount(place)
        (points / "checkpoint-7").mkdir(parents=True)
        (points / "checkpoint-7" / "trainer_state.json").write_text("{}")
        with pytest.raises(StorageError, match="sumiu ou não pode ser lida"):
            TimedSave(0.0).on_save(arguments, state, None)
        assert not (points / "checkpoint-7").exists()
    with mounted(place, drive):
        assert (points / "checkpoint-7" / "trainer_state.json").is_file()
        runs.close_run(run)


def test_a_full_disk_stops_the_local_api_with_the_reason_and_its_next_start_goes_on(disk, tmp_path, monkeypatch):
    from local_api_server import serving, trained
    from openai import OpenAI

    from local_finetune_api import store

    monkeypatch.setattr("finetune_helpers.gpt.chat.ATTEMPTS", 1)
    training, full = tmp_path / "treino.jsonl", []
    turn = [{"role": "user", "content": "oi"}, {"role": "assistant", "content": "olá"}]
    records.write_jsonl(training, [{"messages": turn}] * 12)

    async def work(scheduler, job):
        full.append(fill(disk))
        full[0].__enter__()
        return await trained(scheduler, job)

    provider = gpt.provider("local", base_url="http://127.0.0.1/v1")
    with serving(disk / "api", work=work) as api:
        client = OpenAI(base_url=api.base_url, api_key=api.api_key, max_retries=0)
        job = gpt.find_or_create(client, tmp_path, gpt.Request(training, n_epochs=1), provider=provider)
        with pytest.raises(MachineError, match="Disco cheio"):
            gpt.follow(client, job.id, poll_seconds=0.05)
    full[0].__exit__(None, None, None)
    with serving(disk / "api") as api:
        client = OpenAI(base_url=api.base_url, api_key=api.api_key)
        again = gpt.find_or_create(client, tmp_path, gpt.Request(training, n_epochs=1), provider=provider)
        assert again.id == job.id
        assert gpt.follow(client, job.id, poll_seconds=0.05).status == "succeeded"
    assert len(store.jobs(disk / "api")) == 1


def test_durations_never_come_from_the_wall_clock():
    # time.time() serve para datar um registro; uma duração ou um prazo com ele erra quando o relógio é acertado.
    wrong = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            joined = isinstance(getattr(node, "op", None), ast.BitOr)  # dois dicionários, não uma conta
            if isinstance(node, ast.BinOp | ast.Compare | ast.AugAssign) and not joined:
                called = {ast.unparse(one.func) for one in ast.walk(node) if isinstance(one, ast.Call)}
                wrong |= {path.relative_to(SOURCE).as_posix()} if called & {"time.time", "datetime.now"} else set()
    assert wrong == {"local_finetune_api/reporting.py"}  # o fim previsto é um instante


def test_following_a_training_waits_by_its_own_count_whatever_the_clock_says(monkeypatch):
    shown = []
    monkeypatch.setattr("time.time", lambda: -1e9)
    bar = SimpleNamespace(total=None, n=0, update=lambda steps: None, set_postfix_str=shown.append)
    event = SimpleNamespace(data={"step": 1, "total_steps": 2}, created_at=0, message="")
    gpt_job._show(bar, [event], SimpleNamespace(estimated_finish=1_790_000_000), "")
    assert "fim previsto" in shown[0]
