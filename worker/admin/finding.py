"""What an admin command found out about one thing, and how to mend it: a value."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found out about one thing. `to_do` says how to mend it, and is empty when all is well.

    `warning`: it works all the same, and is not as it should be. `passing`: a process may start that needs it to be
    well, since it may become so without another start.
    """

    subject: str
    detail: str
    to_do: str = ""
    warning: bool = False
    passing: bool = False

    @property
    def ok(self) -> bool:
        return self.warning or not self.to_do
