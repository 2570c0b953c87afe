"""How a check says what it found."""


class Broken(Exception):
    """The contract is broken; the message says how."""


class NotApplicable(Exception):
    """The check has nothing to look at here; the message says why."""
