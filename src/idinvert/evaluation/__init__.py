"""Tasks of ``evaluate.py``, one file per task, and what they share.

A task is a function of an `EvaluationContext`. It checks its settings before any work, writes
pictures, tables and parts to its folder (a killed task resumes from its parts), and returns its
records on the first rank and none on the others. Tasks on images raise a `DataError` if the split
has fewer than n.
"""
