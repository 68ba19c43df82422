"""Run records: their schema, files, counts and scores; no torch."""
