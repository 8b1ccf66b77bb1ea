"""The one error the command line shows as a single line: what is wrong and what to do about it."""


class ClusterError(Exception):
    """A user can cause this; its text is complete in one line and says what to do."""
