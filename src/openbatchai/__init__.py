"""OpenBatchAI: the Azure Batch AI service, self-hosted."""

__version__ = "0.1.0"
