"""Exceptions of checks."""


class Broken(Exception):
    """The contract is broken; the message says how."""


class NotApplicable(Exception):
    """The check does not apply to this plug-in; the message says why."""
