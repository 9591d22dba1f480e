"""Trains one run or a sweep: python train.py experiment=domain_guided"""

from idinvert.__main__ import train

train()
