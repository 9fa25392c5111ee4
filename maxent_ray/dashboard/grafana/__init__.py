"""Grafana dashboard of runs: its panels, the code that builds its JSON, and its installation beside Ray's own."""
