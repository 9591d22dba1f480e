"""Evaluates a run, inverts your images, or renders a table: python evaluate.py run=RUN"""

try:
    from idinvert.__main__ import evaluate

    evaluate()
except KeyboardInterrupt:  # before the program handles it
    raise SystemExit(130) from None
