"""What can be wrong with a storage."""


class StorageError(Exception):
    """The storage could not read or write."""


class FileMissing(StorageError):
    """There is no such file, or its URL was changed or has ended; ask for the prediction or upload again."""
