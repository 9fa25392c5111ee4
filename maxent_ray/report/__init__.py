"""Records of a run as a summary, tables, plots, and a live display."""
