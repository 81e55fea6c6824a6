"""Workloads with seeds: SQL scripts and clients. A target has connect(database) and restart()."""
