"""Evaluates a run, inverts own images, or renders a table: python evaluate.py run=RUN"""

from idinvert.cli.commands import evaluate

evaluate()
