"""Passagem até as alas usarem ``records``."""

from .records import check_present, storage, unwatch, watch

__all__ = ["check_present", "storage", "unwatch", "watch"]
