"""What tests see of the log does not depend on which modules were loaded before them."""

import structlog


def test_loading_every_tests_module_has_not_settled_how_is_logged() -> None:
    """A logger that is kept after its first use would pass by whoever captures later."""
    assert not structlog.get_config()["cache_logger_on_first_use"]
