"""Native networks out to the layouts that other tools read."""
