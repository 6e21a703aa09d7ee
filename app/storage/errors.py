"""What can be wrong with a storage."""


class StorageError(Exception):
    """The storage could not read or write."""


class FileMissing(StorageError):
    """There is no such file."""
