"""Unit tests open no socket: what they need of a node is a recording."""

from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)  # an event loop has one of its own
    yield
    enable_socket()
