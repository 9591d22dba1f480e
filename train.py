"""Trains one run or a sweep: python train.py experiment=domain_guided"""

from idinvert.cli.commands import train

train()
