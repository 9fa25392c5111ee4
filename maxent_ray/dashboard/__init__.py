"""Results page: a server that reads results folders and shows runs live, inside the Ray dashboard or on its own.

It reads files and nothing else, and loads neither torch nor Ray.
"""
