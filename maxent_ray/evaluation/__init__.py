"""Held-out metrics of a policy and their confidence intervals."""
