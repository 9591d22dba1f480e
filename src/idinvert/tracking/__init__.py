"""What goes to CSV and W&B."""
