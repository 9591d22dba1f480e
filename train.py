"""Trains one run or a sweep: python train.py experiment=domain_guided"""

try:
    from idinvert.__main__ import train

    train()
except KeyboardInterrupt:  # before the program handles it
    raise SystemExit(130) from None
