"""Evaluates a run, inverts own images, or renders a table: python evaluate.py run=RUN"""

from idinvert.__main__ import evaluate

evaluate()
