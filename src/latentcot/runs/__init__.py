"""A run's folder: its file names, its identity, its lock, and checkpoints that are checked before they are used."""
