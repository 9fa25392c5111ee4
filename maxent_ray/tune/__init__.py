"""Population-based training, comparisons and sweeps on Ray Tune."""
