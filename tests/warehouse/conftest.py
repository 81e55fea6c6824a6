import pytest

from stand import Stand


@pytest.fixture(scope="session")
def stand():
    stand = Stand()
    try:
        stand.start()
        yield stand
    finally:
        stand.stop()
