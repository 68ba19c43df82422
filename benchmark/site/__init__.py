"""The static site: leaderboards, curves, runs and events as pages that need neither a server nor a network."""
