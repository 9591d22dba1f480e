"""The terms of the paper's objectives, one a file, pure functions of tensors."""
