"""The thin read endpoint. Imports ``db`` and ``config`` alone, and starts in a fraction of a second."""
