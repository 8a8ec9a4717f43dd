"""The three published api-versions of Microsoft.BatchAI over one canonical model."""
