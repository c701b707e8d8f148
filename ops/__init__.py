"""Metrics and the operator's page: a process of its own, which reads Postgres and Redis and changes nothing."""
