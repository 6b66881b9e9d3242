"""Links to the pictures themselves: signed, short-lived, made without a key file."""

import os
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit

from google.auth.credentials import Credentials
from google.auth.iam import Signer
from google.auth.transport.requests import Request as HttpRequest
from google.cloud.storage import Bucket
from google.oauth2 import service_account

from inspection.environment import IAM_EMULATOR, STORAGE_EMULATOR
from webapp.picture import PictureId

LINK_TIME = timedelta(minutes=5)
REUSE_TIME = timedelta(minutes=2)
"""For how long a browser may follow the redirect that it has; shorter than LINK_TIME, so that it always leads there."""

_IAM = "https://iamcredentials.googleapis.com"

_TIMEOUT = 10
"""Seconds, for one try; the client itself would wait two minutes."""


class ImageLinks:
    """Signs links to the pictures of one bucket.

    IAM signs in the name of the app's own service account (which needs roles/iam.serviceAccountTokenCreator on itself):
    https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/signBlob
    """

    def __init__(self, bucket: Bucket, credentials: Credentials, signer_email: str | None) -> None:
        self._bucket = bucket
        self._credentials = credentials
        self._signer_email = signer_email
        self._request = _Iam(_iam_address())
        self._signing: service_account.Credentials | None = None
        self.origin = _origin(bucket.client.api_endpoint)
        """Where the links lead, as the page's content security policy names it."""

    def link(self, picture: PictureId, *, download: bool = False) -> tuple[str, int]:
        """A link to exactly this generation, and the seconds for which it may be used again.

        With `download` the browser saves the file under its own name instead of showing it.
        """
        name = quote(picture.name.rpartition("/")[2], safe="")
        link = self._bucket.blob(picture.name).generate_signed_url(
            version="v4",
            expiration=LINK_TIME,
            generation=picture.generation,
            response_disposition=f"attachment; filename*=UTF-8''{name}" if download else None,
            credentials=self._signing_credentials(),
            api_access_endpoint=self.origin,
        )
        return link, int(REUSE_TIME.total_seconds())

    def _signing_credentials(self) -> service_account.Credentials:
        if self._signing is None:
            if self._signer_email is None:
                # On Google Cloud the metadata server says who this is.
                self._credentials.refresh(self._request)
                self._signer_email = str(getattr(self._credentials, "service_account_email"))  # noqa: B009
            self._signing = service_account.Credentials(
                signer=Signer(self._request, self._credentials, self._signer_email),
                service_account_email=self._signer_email,
                token_uri="",  # it signs, and never asks for a token
            )
        return self._signing


class _Iam(HttpRequest):
    """Google's client for signBlob has a fixed address; the local cloud has another."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address.rstrip("/") if "://" in address else f"http://{address}"

    def __call__(self, url: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the client's own signature
        return super().__call__(url.replace(_IAM, self._address, 1), *args, **{"timeout": _TIMEOUT} | kwargs)


def _iam_address() -> str:
    return os.environ.get(IAM_EMULATOR) or os.environ.get(STORAGE_EMULATOR) or _IAM


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
