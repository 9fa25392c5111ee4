"""Unroll of policy steps for truncated backprop."""
