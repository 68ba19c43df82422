"""The one training loop that every torch model shares."""
