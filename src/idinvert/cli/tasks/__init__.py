"""The tasks of ``evaluate.py``, each from a configuration to records."""
