"""Tables and statements from records alone; no torch."""
