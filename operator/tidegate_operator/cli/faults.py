"""What goes wrong in the user's world, as opposed to ours.

Law: the text is one line for the person who typed the command, and says what to do.
"""


class UserError(Exception):
    """Ends a command with its text on standard error and this exit code."""

    exit_code = 1


class ClusterError(UserError):
    """The cluster can't be asked, or has no such thing."""


class MissingPartError(UserError):
    """A command needs a package that is not installed."""


class InputError(UserError):
    """What was given can't be used; told apart from an answer that is no."""

    exit_code = 2
