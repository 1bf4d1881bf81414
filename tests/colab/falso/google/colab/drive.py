"""O Drive de mentira: a pasta de DRIVE_DE_MENTIRA, a única coisa que sobra de uma máquina para a outra."""

import os
from pathlib import Path


def mount(mountpoint: str, **_: object) -> None:
    """Põe o Drive em ``mountpoint/MyDrive``; TypeError se o ponto não é absoluto, como o Colab pede."""
    if not Path(mountpoint).is_absolute():
        raise TypeError(f"O ponto de montagem {mountpoint} deveria ser absoluto.")
    Path(mountpoint).mkdir(parents=True, exist_ok=True)
    place = Path(mountpoint) / "MyDrive"
    if not place.exists():
        place.symlink_to(os.environ["DRIVE_DE_MENTIRA"])
