"""The static site: leaderboards, curves, runs and events as pages without server or network."""
