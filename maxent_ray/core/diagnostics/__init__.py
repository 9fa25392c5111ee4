"""Observers of decisions: alarms for coefficients that have no effect. No decision depends on them."""
