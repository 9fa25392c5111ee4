"""Long runs on Ray Train: the loop, its checkpoints, its records."""
