"""Votos: nenhum se perde nem se repete, com dois processos, threads, kill -9 e arquivos mexidos à mão."""

import errno
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune_helpers import votes
from finetune_helpers.errors import InputError, StorageError
from finetune_helpers.votes import Vote, append, read

VOTE = Vote("v0", "2026-11-22T14:30:00+00:00", "A Sea Voyage", "gpt-base", "gpt-tuned", "Uma.", "Outra.", "A")
TEXT = st.text(max_size=60)
VOTES = st.builds(
    replace,
    st.just(VOTE),
    vote_id=TEXT,
    question=TEXT,
    answer_a=TEXT,
    answer_b=TEXT,
    choice=st.sampled_from(list(votes.CHOICES)),
)
# Vota em laço e diz cada voto só depois que append voltou.
VOTER = """
import sys
from dataclasses import replace
from finetune_helpers.votes import append, read
run, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
first = read(sys.argv[4])[0]
for number in range(count):
    append(run, replace(first, vote_id=f"{name}-{number}", answer_a="x" * 3000))
    print(f"{name}-{number}", flush=True)
"""
# O processo morre com o cadeado na mão e a linha pela metade no disco.
KILLED = """
import json, os, signal, sys
from dataclasses import replace
from finetune_helpers import votes
def half(path, rows):
    line = json.dumps(rows[0])
    with open(path, "a") as file:
        file.write(line[: len(line) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
votes.append_jsonl = half
votes.append(sys.argv[1], replace(votes.read(sys.argv[1])[0], vote_id="morto"))
"""


def ids(run: Path) -> list[str]:
    return [vote.vote_id for vote in read(run)]


@pytest.fixture
def voter(tmp_path):
    """Começa processos que votam na pasta ``tmp_path/r1``."""
    (tmp_path / "r1").mkdir()
    (tmp_path / "modelo").mkdir()
    append(tmp_path / "modelo", VOTE)
    begun = []

    def start(name: str, count: int) -> subprocess.Popen:
        words = [sys.executable, "-c", VOTER, tmp_path / "r1", name, str(count), tmp_path / "modelo"]
        begun.append(subprocess.Popen(words, stdout=subprocess.PIPE, text=True))
        return begun[-1]

    yield start
    for process in begun:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_processes_voting_at_once_lose_nothing(voter, tmp_path):
    both, sizes = [voter("a", 60), voter("b", 60)], []
    while any(process.poll() is None for process in both):
        sizes.append(len(ids(tmp_path / "r1")))  # quem lê ao lado nunca vê meio voto
    cast = ids(tmp_path / "r1")
    assert sizes == sorted(sizes) and sorted(cast) == sorted(
        f"{name}-{number}" for name in "ab" for number in range(60)
    )
    assert [one for one in cast if one[0] == "a"] == [f"a-{number}" for number in range(60)]


def test_every_vote_acknowledged_before_kill_9_is_there(voter, tmp_path):
    process = voter("a", 100_000)
    said = [process.stdout.readline().strip() for _ in range(40)]
    process.send_signal(signal.SIGKILL)
    said += process.communicate()[0].split("\n")[:-1]
    append(tmp_path / "r1", VOTE)
    found = ids(tmp_path / "r1")
    # O que foi gravado e não chegou a ser dito é, no máximo, o último.
    assert found[: len(said)] == said and found[len(said) :][-1] == "v0" and len(found) <= len(said) + 2


def test_a_writer_killed_in_the_middle_of_a_line_harms_no_vote(tmp_path):
    append(tmp_path, VOTE)
    killed = subprocess.run([sys.executable, "-c", KILLED, tmp_path])
    assert killed.returncode == -signal.SIGKILL and not (tmp_path / votes.FILE).read_bytes().endswith(b"\n")
    append(tmp_path, replace(VOTE, vote_id="depois"))
    assert ids(tmp_path) == ["v0", "depois"]


@settings(max_examples=25)
@given(st.lists(VOTES, min_size=1, max_size=4, unique_by=lambda vote: vote.vote_id), st.data())
def test_a_file_cut_anywhere_keeps_every_whole_vote(given_votes, data):
    with tempfile.TemporaryDirectory() as run:
        for vote in given_votes:
            append(run, vote)
        path = Path(run) / votes.FILE
        whole = path.read_bytes()
        cut = whole[: data.draw(st.integers(0, len(whole)))]
        path.write_bytes(cut)
        kept = cut.count(b"\n")
        assert read(run) == given_votes[:kept]
        append(run, replace(VOTE, vote_id="o-seguinte-ao-corte"))
        assert ids(Path(run)) == [vote.vote_id for vote in given_votes[:kept]] + ["o-seguinte-ao-corte"]


def test_the_same_vote_twice_counts_once(tmp_path):
    for vote in (VOTE, replace(VOTE, choice="B"), replace(VOTE, vote_id="v")):
        append(tmp_path, vote)
    assert read(tmp_path) == [VOTE, replace(VOTE, vote_id="v")]


def test_a_question_that_copies_a_line_of_the_file_blocks_no_vote(tmp_path):
    append(tmp_path, replace(VOTE, question='{"vote_id": "v9", "at"'))
    append(tmp_path, replace(VOTE, vote_id="v9"))
    assert ids(tmp_path) == ["v0", "v9"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choice": "ambas ruins"}, "choice é 'ambas ruins'"),
        ({"system_b": "gpt-base"}, "mesmo sistema"),
        ({"answer_a": None}, "falta o texto de answer_a"),
    ],
)
def test_a_vote_that_does_not_serve_is_refused_and_nothing_is_written(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        append(tmp_path, replace(VOTE, **change))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_not_made(tmp_path):
    with pytest.raises(InputError, match="Confira o nome da rodada"):
        append(tmp_path / "rodda", VOTE)
    assert not (tmp_path / "rodda").exists()


def test_a_full_disk_says_the_vote_was_not_written_and_the_next_one_finds_a_whole_file(tmp_path, monkeypatch):
    def half(path, rows):
        with open(path, "a", encoding="utf-8") as file:
            file.write('{"vote_id": "v1", "at": ')
        raise OSError(errno.ENOSPC, "No space left on device")

    append(tmp_path, VOTE)
    with monkeypatch.context() as full, pytest.raises(StorageError, match="Libere espaço"):
        full.setattr(votes, "append_jsonl", half)
        append(tmp_path, replace(VOTE, vote_id="v1"))
    assert ids(tmp_path) == ["v0"]
    append(tmp_path, replace(VOTE, vote_id="v1"))
    assert ids(tmp_path) == ["v0", "v1"]


@pytest.mark.parametrize("line", ["não é json", json.dumps(asdict(VOTE) | {"choice": "C"}), '{"vote_id": "só"}'])
def test_a_line_spoiled_by_hand_is_named_and_does_not_stop_the_next_vote(tmp_path, line):
    append(tmp_path, VOTE)
    with open(tmp_path / votes.FILE, "a", encoding="utf-8") as file:
        file.write(line + "\n")
    append(tmp_path, replace(VOTE, vote_id="v1"))
    with pytest.raises(InputError, match=r"votos\.jsonl, linha 2"):
        read(tmp_path)
