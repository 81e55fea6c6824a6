"""Short runs of bank.py for make test; the 200 rounds for make test-long."""
import os
import random

import pytest

import bank

LONG = bool(os.environ.get("TIDE_TEST_LONG"))


@pytest.mark.parametrize("durability, rounds", [
    ("local", 200 if LONG else 8), pytest.param("acceptor", 50, marks=pytest.mark.long)])
def test_nothing_acknowledged_is_lost(instance, durability, rounds, capsys):
    seed = int(os.environ.get("TIDE_TEST_SEED", random.randrange(100000)))
    instance.up("--durability", durability)
    lines = []

    def say(text):
        lines.append(text)
        if LONG:
            with capsys.disabled():
                print(text, flush=True)

    try:
        bank.run(instance, rounds, seed, say=say)
    except BaseException:
        print("\n".join(lines), f"\nseed {seed}")
        raise
    with capsys.disabled():
        print(f"\n{durability}: {lines[-1]}")


def test_up_counts_only_deaths_it_has_seen(instance):
    """A role that was killed often under an earlier supervisor is not hopeless under the next one."""
    instance.up()
    for _ in range(5):
        before = set(instance.find("tide storage"))
        for pid in before:
            instance.kill(pid)
        bank.wait_for(lambda: set(instance.find("tide storage")) - before, 30, "a new storage role")
    instance.kill_everything()
    instance.up()
    assert instance.value("SELECT 1") == 1
