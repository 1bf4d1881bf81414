"""Mede o treino na forma do LLaMA 3 8B com pesos ao acaso: tokens por segundo, e memória.

    python benchmarks/training.py                        # GPU: 8B, motores × {preenchido, empacotado} × 512/2048
    python benchmarks/training.py --memoria-gb 15        # o mesmo, limitado ao que uma T4 tem
    python benchmarks/training.py --forma pequena        # confere o programa numa CPU, em segundos

Não usa a rede: os pesos são sorteados aqui e quantizados em NF4. Cada caso roda no seu próprio processo.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

SHAPES = {
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32},
    "pequena": {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
}
SHARED = {"num_key_value_heads": {"8b": 8, "pequena": 2}, "vocab_size": {"8b": 128256, "pequena": 512}}
COLUMNS = ("motor", "linhas", "tokens", "tokens/s", "úteis/s", "pico GB")


def main() -> None:
    """Executa todos os casos e imprime a tabela em Markdown; um caso que falha diz por quê e não para os outros."""
    asked = _arguments()
    if asked.caso:
        print(json.dumps(_measure(asked.caso, asked)))
        return
    with tempfile.TemporaryDirectory() as folder:
        model = asked.modelo or _build(asked.forma, Path(folder) / "modelo")
        cases = product(asked.motores, ("preenchidas", "empacotadas"), asked.comprimentos)
        rows = [_run("/".join(map(str, case)), model, asked) for case in cases]
    print("| " + " | ".join(COLUMNS) + " |\n|" + "---|" * len(COLUMNS))
    for row in rows:
        print("| " + " | ".join(str(row.get(column, row.get("erro", ""))) for column in COLUMNS) + " |")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--forma", choices=SHAPES, default="8b")
    parser.add_argument("--motores", nargs="+", default=["unsloth", "transformers"])
    parser.add_argument("--comprimentos", nargs="+", type=int, default=[512, 2048])
    parser.add_argument("--passos", type=int, default=8, help="passos medidos, depois de 3 de aquecimento")
    parser.add_argument("--lote", type=int, default=2)
    parser.add_argument("--memoria-gb", type=float, default=0.0, help="limite de memória da GPU (0: sem limite)")
    parser.add_argument("--modelo", default="", help="pasta de um modelo já construído")
    parser.add_argument("--caso", default="", help=argparse.SUPPRESS)
    return parser.parse_args()


def _build(shape: str, folder: Path) -> str:
    """Salva, em 4 bits, um LLaMA de pesos ao acaso; numa CPU a forma pequena fica em 16 bits."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = SHAPES[shape] | {key: values[shape] for key, values in SHARED.items()}
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = LlamaForCausalLM(LlamaConfig(**size, rope_theta=500000.0, bos_token_id=0, eos_token_id=1, pad_token_id=2))
    model.save_pretrained(folder)
    _tokenizer(size["vocab_size"]).save_pretrained(folder)
    return str(folder)


def _tokenizer(vocabulary: int):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<s>", "</s>", "<pad>", *(f"w{number}" for number in range(vocabulary - 3))]
    made = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<pad>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def _run(case: str, model: str, asked: argparse.Namespace) -> dict:
    given = ["--modelo", model, "--caso", case, "--forma", asked.forma, "--lote", str(asked.lote)]
    given += ["--passos", str(asked.passos), "--memoria-gb", str(asked.memoria_gb)]
    done = subprocess.run([sys.executable, __file__, *given], capture_output=True, text=True)
    engine, rows, length = case.split("/")
    named = {"motor": engine, "linhas": rows, "tokens": length}
    if done.returncode:
        return named | {"erro": done.stderr.strip().splitlines()[-1][:80]}
    return named | json.loads(done.stdout.strip().splitlines()[-1])


def _measure(case: str, asked: argparse.Namespace) -> dict:
    engine, rows, length = case.split("/")
    from finetune_helpers import training

    profile = training.choose(engine=engine, model=asked.modelo, max_length=int(length), batch_size=asked.lote)
    if asked.memoria_gb:
        import torch

        total = torch.cuda.get_device_properties(0).total_memory / 1e9
        torch.cuda.set_per_process_memory_fraction(min(1.0, asked.memoria_gb / total))
    model, tokenizer = training.load(profile)
    model = training.add_adapter(model, profile)
    trainer, clock = _trainer(model, tokenizer, profile, rows == "empacotadas", asked)
    trainer.train()
    return _row(trainer, clock, profile)


def _trainer(model, tokenizer, profile, packed: bool, asked: argparse.Namespace):
    """Linhas de comprimento variado: preenchidas até a maior do lote ou empacotadas até o limite."""
    import random

    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    from finetune_helpers.training import sft_arguments

    draw, steps = random.Random(3407), asked.passos + WARM_UP
    needed = steps * profile.effective_batch * (4 if packed else 1)
    sizes = [draw.randint(profile.max_length // 4, profile.max_length - 2) for _ in range(needed)]
    words = range(len(tokenizer) - 3)
    texts = [{"text": " ".join(f"w{draw.choice(words)}" for _ in range(size))} for size in sizes]
    arguments = sft_arguments(profile, tempfile.mkdtemp()) | {"max_steps": steps, "packing": packed}
    clock = _clock()
    config = SFTConfig(**(arguments | {"completion_only_loss": None, "save_strategy": "no"}))
    rows = Dataset.from_list(texts)
    return SFTTrainer(
        model=model, processing_class=tokenizer, args=config, train_dataset=rows, callbacks=[clock]
    ), clock


WARM_UP = 3  # os primeiros passos compilam núcleos e aquecem a memória


def _clock():
    import time

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """Tempo e tokens a partir do fim do aquecimento."""

        started = tokens = seconds = 0

        def on_step_end(self, args, state, control, **kwargs):
            """Marca o fim do aquecimento e o tempo até o passo atual."""
            if state.global_step == WARM_UP:
                self.started, self.tokens = time.perf_counter(), state.num_input_tokens_seen
            self.seconds = time.perf_counter() - self.started

    return Clock()


def _row(trainer, clock, profile) -> dict:
    from finetune_helpers.training import measures

    useful = (int(trainer.state.num_input_tokens_seen) - int(clock.tokens)) / clock.seconds
    steps = trainer.state.global_step - WARM_UP
    padded = steps * profile.effective_batch * profile.max_length / clock.seconds
    memory = measures.peak_gpu_gb()
    return {
        "tokens/s": round(max(useful, padded if trainer.args.packing else useful)),
        "úteis/s": round(useful),
        "pico GB": "não medido" if memory is None else memory,
    }


if __name__ == "__main__":
    main()
