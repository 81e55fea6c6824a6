"""What the benchmarks share: arms to compare, loads to put on them, figures and their report."""
