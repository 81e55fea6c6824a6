"""Marks shared by all tests: `long` runs only with TIDE_TEST_LONG=1 (make test-long)."""
import os

import pytest


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes more than about a minute; run by make test-long")


def pytest_collection_modifyitems(config, items):
    if os.environ.get("TIDE_TEST_LONG"):
        return
    skip = pytest.mark.skip(reason="long: make test-long")
    for item in items:
        if "long" in item.keywords:
            item.add_marker(skip)
