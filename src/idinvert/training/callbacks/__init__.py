"""Trainer callbacks: checkpoints, logs, image panels, stopping."""
