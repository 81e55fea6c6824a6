"""Figures of a run: what was measured on which arm, against which bar."""
import dataclasses
import statistics


def percentile(values, percent):
    """The smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@dataclasses.dataclass
class Bar:
    """`of` is "ratio" (tide / the other arm) or "value" (tide's own); met if it is `relation` the limit."""

    of: str
    relation: str
    limit: float
    unit: str = ""

    def met(self, ratio, value):
        measured = ratio if self.of == "ratio" else value
        if measured is None:
            return None
        return {">=": measured >= self.limit, "<=": measured <= self.limit, "<": measured < self.limit}[self.relation]

    def __str__(self):
        return f"{self.relation} {self.limit:g}" + (" x" if self.of == "ratio" else f" {self.unit}".rstrip())


def ratio_at_least(limit):
    return Bar("ratio", ">=", limit)


@dataclasses.dataclass
class Figure:
    """Values of each arm, in the order of the rounds: values at one index were taken next to each other. Arm "tide" is
    compared with arm `against`."""

    what: str
    unit: str
    arms: dict  # name -> list of numbers
    bar: Bar = None
    percent: int = 50
    details: dict = dataclasses.field(default_factory=dict)
    against: str = "stock"

    def summary(self, arm):
        values = self.arms.get(arm) or []
        if not values:
            return None
        return statistics.median(values) if self.percent == 50 else percentile(values, self.percent)

    @property
    def ratio(self):
        """Tide to the other arm: the median over rounds; for other percentiles that of the summaries."""
        other, tide = self.arms.get(self.against) or [], self.arms.get("tide") or []
        if self.percent == 50 and len(other) == len(tide) and other and all(other):
            return statistics.median(ours / theirs for ours, theirs in zip(tide, other))
        theirs, ours = self.summary(self.against), self.summary("tide")
        return ours / theirs if theirs and ours is not None else None

    @property
    def verdict(self):
        met = self.bar.met(self.ratio, self.summary("tide")) if self.bar else None
        return {True: "met", False: "NOT MET", None: ""}[met]

    def as_json(self):
        return {"what": self.what, "unit": self.unit, "statistic": f"p{self.percent}",
                self.against: self.summary(self.against), "tide": self.summary("tide"), "ratio": self.ratio,
                "bar": str(self.bar) if self.bar else None, "verdict": self.verdict or None, "values": self.arms,
                "details": self.details}


def show(number):
    if number is None:
        return "-"
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.3g}"


def headings(figures):
    """The other arm's column has its name, if there is one."""
    others = {figure.against for figure in figures}
    return ["what", "unit", others.pop() if len(others) == 1 else "other", "tide", "ratio", "bar", "verdict"]


def cells(figure):
    ratio = figure.ratio
    return [figure.what, figure.unit, show(figure.summary(figure.against)), show(figure.summary("tide")),
            "-" if ratio is None else f"{ratio:.2f}", str(figure.bar) if figure.bar else "", figure.verdict]


def text_table(figures):
    rows = [headings(figures), *map(cells, figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        aligned = [cell.rjust(width) if 2 <= i <= 4 else cell.ljust(width)
                   for i, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def markdown_table(figures):
    lines = ["| " + " | ".join(headings(figures)) + " |", "| --- | --- | ---: | ---: | ---: | --- | --- |"]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(figure)) + " |" for figure in figures]
    return "\n".join(lines)
