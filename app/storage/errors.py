"""Defines the errors of storages."""


class StorageError(Exception):
    """The storage could not read or write."""


class FileMissing(StorageError):
    """There is no such file, or its URL is invalid or has expired; request the prediction or upload again."""
