"""Training: the worker that does one step, the loop that drives it, and the held-out evaluation."""
