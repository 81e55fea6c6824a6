"""Judges of the lake: independent Delta readers, a log validator, the answer oracle, workloads."""
