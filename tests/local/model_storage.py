"""A client for the storage of the services that train models."""

from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from tests.automl.model_cloud import PROJECT, ModelCloud


def storage_of(cloud: ModelCloud) -> storage.Client:
    """A real client that speaks as the engineer."""
    return storage.Client(
        project=PROJECT, credentials=AnonymousCredentials(), client_options={"api_endpoint": cloud.url}
    )
