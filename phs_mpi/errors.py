"""Errors that a user can mend: one message, naming the parameter, the value and the remedy."""


class PhsError(Exception):
    """Base of all errors that end in one line and an exit status, not in a traceback.

    Parameters
    ----------
    message : str
        What is wrong.
    parameter : str, optional
        Name of the parameter concerned; put in front of the message.
    value : object, optional
        The offending value; kept for programs, already part of the message for people.
    remedy : str, optional
        How to mend it; appended to the message.
    """

    exit_status = 2

    def __init__(self, message, *, parameter=None, value=None, remedy=None):
        super().__init__(message)
        self.message = message
        self.parameter = parameter
        self.value = value
        self.remedy = remedy

    def __str__(self):
        where = f"parameter {self.parameter!r}: " if self.parameter is not None else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{where}{self.message}{remedy}"

    def __reduce__(self):
        return (
            _rebuild,
            (type(self), self.message, self.parameter, repr(self.value), self.remedy),
        )


def _rebuild(cls, message, parameter, value, remedy):
    return cls(message, parameter=parameter, value=value, remedy=remedy)


class DefinitionError(PhsError):
    """experiment.py, or a call that defines an experiment, is wrong."""


class StoreError(PhsError):
    """The results file cannot be created, opened, read, extended or written."""


class BackendError(PhsError):
    """A backend cannot start, or lost what it runs on."""
