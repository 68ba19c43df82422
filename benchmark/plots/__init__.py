"""Pictures from arrays and records."""
