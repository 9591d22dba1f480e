"""Evaluates a run, inverts own images, or renders a table: python evaluate.py run=RUN"""

try:
    from idinvert.__main__ import evaluate

    evaluate()
except KeyboardInterrupt:  # before the program listens for it
    raise SystemExit(130) from None
