from collections.abc import Iterator

import pytest

from local.google.gate import RequestLog
from local.google.pubsub.rpc import PubSubHandler
from local.google.pubsub.service import PubSub
from local.google.rpc import RunningGrpcServer


@pytest.fixture(scope="session")
def pubsub_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """`host:port` of the local cloud's Pub/Sub, for whoever may do everything."""
    with (
        PubSub(tmp_path_factory.mktemp("pubsub")) as pubsub,
        RunningGrpcServer([PubSubHandler(None, pubsub, RequestLog())]) as server,
    ):
        yield server.address
