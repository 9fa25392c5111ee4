"""Command line: the app, its options, the commands behind it, the connection to a cluster."""

from maxent_ray.cli.app import main

__all__ = ["main"]
