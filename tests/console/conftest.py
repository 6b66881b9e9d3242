"""A Cloud Storage that the commands find by themselves."""

from tests.support.storage import bucket_numbers, cloud, storage_server

__all__ = ["bucket_numbers", "cloud", "storage_server"]
