"""Unit tests open no socket and read no settings of this machine: what they need of a node is a recording."""

import os
from collections.abc import Iterator

import pytest
from pytest_socket import disable_socket, enable_socket

from config.base_settings import setting_names
from config.settings import ApiSettings, WorkerSettings

# Before the tests are collected: some build settings then.
for _name in {*setting_names(ApiSettings), *setting_names(WorkerSettings)}:
    os.environ.pop(_name, None)
    os.environ.pop(f"{_name}_FILE", None)


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)  # an event loop has one of its own
    yield
    enable_socket()
