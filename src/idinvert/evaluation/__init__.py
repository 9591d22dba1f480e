"""Tasks of ``evaluate.py``, one file each, and what they share.

A task is a function of an `EvaluationContext`. It refuses what it cannot do before any work, writes
pictures, tables and parts below its folder (a killed task goes on from its parts), and returns its
records on the first rank and none on the others. Tasks on images raise a `DataError` where the
split has fewer than n.
"""
