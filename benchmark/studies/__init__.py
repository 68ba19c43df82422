"""Studies: each file answers one question about events, tokens or models with a table and a figure."""
