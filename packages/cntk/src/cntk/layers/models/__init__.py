"""Parts of larger models."""

from .attention import AttentionModel

__all__ = ["AttentionModel"]
