"""One foreign checkpoint family a file: what it looks like, and how it becomes native."""
