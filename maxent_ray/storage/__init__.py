"""Storage: atomic files, checksummed checkpoints and their schemas, locks on results folders."""
