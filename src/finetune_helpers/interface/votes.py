"""Os votos da página; o registro mora no chão, porque a comparação também o lê."""

from ..votes import CHOICES, LONGEST, Vote, append, read

__all__ = ["CHOICES", "LONGEST", "Vote", "append", "read"]
