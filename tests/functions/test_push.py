"""The functions behind a push of the local cloud's Pub/Sub, and what is installed with them."""

import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from google.pubsub_v1 import (
    DeadLetterPolicy,
    PublisherClient,
    PubsubMessage,
    PushConfig,
    SubscriberClient,
    Subscription,
)
from werkzeug.serving import make_server

from infra.archive import build_archive
from inspection.message import Prediction
from local.google.gate import Call
from tests.functions.stage import ROOT, Cloud, Function, Topic
from tests.support.gate import refuse

Lines = Callable[[], list[dict[str, Any]]]


@contextmanager
def pushed_to(function: Function, topic: Topic) -> Generator[PublisherClient]:
    """A push subscription whose endpoint is the function, and a client to publish with."""
    server = make_server("127.0.0.1", 0, function.app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    name = topic.subscription + "-push"
    subscriber = SubscriberClient()
    subscriber.create_subscription(
        request=Subscription(
            name=name,
            topic=topic.name,
            push_config=PushConfig(push_endpoint=f"http://127.0.0.1:{server.server_port}/"),
            dead_letter_policy=DeadLetterPolicy(dead_letter_topic=topic.name, max_delivery_attempts=5),
        )
    )
    try:
        yield PublisherClient()
    finally:
        subscriber.delete_subscription(subscription=name)
        server.shutdown()
        thread.join()
        server.server_close()


def test_pubsub_delivers_again_what_was_not_acknowledged(cloud: Cloud, topic: Topic, move: Function, lines: Lines):
    announced = cloud.upload("a.jpg", b"image")["message"]["attributes"]
    prediction = Prediction(
        bucket_name="inbound",
        image_name="a.jpg",
        generation=int(announced["objectGeneration"]),
        model="m",
        predicted_at="2026-11-21T08:30:00Z",
        prediction_label="ok",
        prediction_score=0.8,
        predictions={"ok": 0.8},
    )
    deleted = threading.Event()

    def refuse_the_first(call: Call) -> None:
        cloud.gate.before["storage.objects.delete"] = lambda _: deleted.set()
        refuse(503)(call)

    cloud.gate.before["storage.objects.delete"] = refuse_the_first
    with pushed_to(move, topic) as publisher:
        publisher.publish(topic=topic.name, messages=[PubsubMessage(data=prediction.to_json())])
        assert deleted.wait(30)
    assert cloud.moved() == {"ok/a.jpg": b"image"}
    assert cloud.waiting() == []
    assert [line.get("outcome") for line in lines()] == [None, "moved before"]


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("predict-automl", "predict/requirements-automl.txt"),
        ("predict-vertex", "predict/requirements-vertex.txt"),
        ("predict-own", "predict/requirements-own.txt"),
        ("move", "move/requirements.txt"),
    ],
)
def test_requirements_are_those_of_the_lock_file(group: str, file: str):
    exported = subprocess.run(
        [
            sys.executable, "-m", "uv", "export", "--frozen", "--offline", "--quiet",
            "--only-group", group, "--no-emit-project", "--no-header",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    requirements = Path(ROOT / "functions" / file).read_text()
    assert requirements == exported.stdout, "run `make lock`"


@pytest.mark.parametrize("function", ["predict", "move"])
def test_an_archive_needs_nothing_of_the_other_function_or_of_this_environment(function: str, tmp_path: Path):
    """As deployed: unpacked, and started from there by the framework's own command."""
    with zipfile.ZipFile(build_archive(function, root=ROOT, kind="automl").path) as archive:
        archive.extractall(tmp_path)
    program = (
        "import sys; sys.path[:] = [path for path in sys.path if path != sys.argv[1]]\n"
        "import functions_framework, json\n"
        f"functions_framework.create_app({function!r}, 'main.py')\n"
        "import inspection; print(inspection.__file__)\n"
        "print(json.dumps([name for name in sys.modules if name.split('.')[0] in {'pulumi', 'numpy', 'typer'}]))"
    )
    environment = {
        "MODEL_ID": "projects/factory/locations/us-central1/models/ICN42",
        "PREDICTIONS_TOPIC": "projects/factory/topics/t",
        "PREDICTION_BUCKET": "prediction",
        "LABELS": '["ok"]',
        "THRESHOLD": "0.8",
        "THRESHOLDS": "{}",
        "PYTHONPATH": str(tmp_path),
    }
    started = subprocess.run(
        [sys.executable, "-c", program, str(ROOT)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    where, foreign = started.stdout.splitlines()
    assert where.startswith(str(tmp_path))
    assert foreign == "[]"
