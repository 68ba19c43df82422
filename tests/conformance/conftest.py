"""Options that point the conformance tests at a file outside the suite, and what they leave to a user's own data."""

from __future__ import annotations


def pytest_addoption(parser):
    group = parser.getgroup("conformance", "a model or dataset of your own")
    group.addoption("--model", metavar="PATH", help="Test this model alone: a name, or a file that binds SPEC.")
    group.addoption("--dataset", metavar="PATH", help="Test this dataset alone: a name, or a file that binds SPEC.")
    group.addoption("--data", metavar="FOLDER", help="A small folder of that dataset.")


def pytest_configure(config):
    config.addinivalue_line("markers", "needs_torch: of models that the shared loop trains")
