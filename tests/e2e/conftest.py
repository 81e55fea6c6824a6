"""Fixtures of the end-to-end tests.

`tide`      a running instance, shared by the tests of one file: they use branches or tables of their own
`instance`  a fresh one that is not up yet, for tests that start, stop, kill and break things
"""
import pytest

from instance import TIDE, Instance


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "call" and report.failed:
        for name in ("instance", "tide"):
            made = item.funcargs.get(name)
            if made is not None:
                report.sections.append(("processes", "\n".join(map(str, made.processes().items()))))
                report.sections.append(("logs", made.logs()))


def closing(made):
    with made:
        yield made
        alarms = made.alarms()
        assert not alarms, "in the logs:\n" + "\n".join(alarms[:20])


@pytest.fixture(scope="session", autouse=True)
def program():
    assert TIDE.exists(), f"{TIDE} is missing: make build"


@pytest.fixture
def instance():
    yield from closing(Instance())


@pytest.fixture(scope="module")
def tide():
    made = Instance()
    try:
        made.up()
    except BaseException:
        print(made.logs())
        made.close()
        raise
    yield from closing(made)
