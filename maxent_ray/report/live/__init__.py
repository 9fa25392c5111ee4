"""A run as it is now, followed in its records: for a terminal. Loads neither torch nor Ray, nor matplotlib."""
