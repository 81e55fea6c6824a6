"""A branch of an instance, as workloads want it."""


def allow_two_phase(tide):
    """Prepared transactions are off by default, as in stock PostgreSQL."""
    tide.sql("ALTER SYSTEM SET max_prepared_transactions = 64")
    Target(tide).restart()


class Target:
    def __init__(self, tide, branch="main"):
        self.tide = tide
        self.branch = branch

    def connect(self, database=None):
        return self.tide.connect(f"{database or ''}@{self.branch}")

    def url(self, database=None):
        return self.tide.url(f"{database or ''}@{self.branch}")

    def restart(self):
        self.tide.run("endpoint", "suspend", self.branch)
        self.tide.run("endpoint", "start", self.branch)
