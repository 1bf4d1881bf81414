"""O ramo CUDA também em outros processos: os ensaios do caderno 05 e o kernel de um caderno inteiro.

EMULAR_ENSAIOS vale para todo processo; EMULAR_T4 traz a pasta do modelo que a T4 treina e vale só para os kernels.
"""

import os
import sys

T4 = os.environ.get("EMULAR_T4") if any("ipykernel" in part for part in sys.orig_argv) else None

if os.environ.get("EMULAR_ENSAIOS") or T4:
    import ligar  # noqa: F401

    from finetune_helpers import training
    from finetune_helpers.training import model, profiles

    arguments = model.model_arguments
    on_cpu = {"device_map": "cpu", "use_gradient_checkpointing": False}
    model.model_arguments = training.model_arguments = lambda *asked: arguments(*asked) | on_cpu
    model.point_unsloth = profiles.point_unsloth = lambda profile: None

if T4:
    from dataclasses import replace

    import ramo

    profiles.gpu = lambda: profiles.Card("Tesla T4", 14.0, 15.8, 75)
    profiles.BY_NAME["t4"] = replace(ramo.profile("t4", T4), max_length=512, save_minutes=0.001)
