"""O treinador fora do caderno: o mesmo SFTTrainer do caderno 02, para quem treina por comando ou por ensaio."""

from pathlib import Path
from typing import TYPE_CHECKING

from .. import prompts
from ..records import Example
from . import guards, lora
from .profiles import Profile

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback
    from trl import SFTTrainer


def trainer(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    profile: Profile,
    examples: tuple[list[Example], list[Example]],
    folder: Path,
    callbacks: "list[TrainerCallback]",
    *,
    evaluate: bool = True,
) -> "SFTTrainer":
    """O SFTTrainer das linhas de treino que cabem no limite e da validação; InputError se nenhuma couber.

    ``evaluate`` mede a validação a cada ``eval_steps`` passos; sem ele, só quando uma das funções de retorno pede.
    """
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    train, validation = ([prompts.to_prompt_completion(one) for one in part] for part in examples)
    lengths = guards.lengths(tokenizer, train, profile.max_length)
    kept = [row for index, row in enumerate(train) if index not in lengths.too_long]
    arguments = lora.sft_arguments(profile, folder, evaluate=evaluate, max_length=lengths.longest_kept)
    return SFTTrainer(
        model=model,
        processing_class=tokenizer,
        args=SFTConfig(**arguments),
        train_dataset=Dataset.from_list(kept),
        eval_dataset=Dataset.from_list(validation),
        callbacks=callbacks,
    )
