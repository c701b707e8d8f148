"""Settings and logging. Imports nothing else of the project."""
