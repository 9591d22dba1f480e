"""Loggers (CSV, TensorBoard, W&B), pictures and status files of runs."""
