"""Schema and validation of configurations; identity of runs and evaluations."""
