"""Which words can be the name of a host. Pure."""

NO_HOST = "names a host that is none: between two dots it has nothing, or more than 63 letters"


def can_be_a_host(name: str) -> bool:
    """Whether a name can be asked for: Python's own look-up of names raises a UnicodeError for others."""
    try:
        name.encode("idna")
    except UnicodeError:
        return False
    return True
