"""The thin read endpoint. Imports ``db`` and ``config`` alone, and starts in about a second."""
