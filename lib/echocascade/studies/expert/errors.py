"""What can be wrong with a study."""


class StudyError(ValueError):
    """A study that cannot be made or read as asked."""
