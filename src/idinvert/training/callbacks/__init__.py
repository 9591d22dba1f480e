"""What happens around the training steps: checkpoints, logs, pictures, stopping."""
