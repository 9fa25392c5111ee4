"""Storage: whole files, sealed checkpoints and their schemas, and locks on results folders."""
