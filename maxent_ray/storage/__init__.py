"""What is written to disk: whole files, sealed checkpoints, and locks on results folders."""
