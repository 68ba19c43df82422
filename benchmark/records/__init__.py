"""What a run leaves behind: its schema, files, counts and scores; no torch."""
