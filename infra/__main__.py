"""The inspection line, as in the picture of the README, from the end of the event path to its beginning.

Each subscription exists before anybody may publish to its topic. The inbound bucket comes last, with its notification.
"""

from pathlib import Path

import pulumi

from infra.announcement import Announcement, AnnouncementArgs
from infra.app_engine import AppEngine, AppEngineArgs
from infra.buckets import Buckets
from infra.build import Build, BuildArgs
from infra.delivery import Delivery, DeliveryArgs
from infra.function import Platform
from infra.monitoring import Monitoring, MonitoringArgs
from infra.move import Move, MoveArgs
from infra.predict import Predict, PredictArgs
from infra.push import PushIdentity
from infra.review_app import ReviewApp, ReviewAppArgs
from infra.services import Services
from infra.stack_config import load_settings

settings = load_settings()
services = Services("services", settings)
usable = pulumi.ResourceOptions(depends_on=[services])

buckets = Buckets("buckets", settings, usable)
build = Build("build", BuildArgs(settings=settings, sources=buckets.sources), usable)
push = PushIdentity("push", settings, pubsub_agent=services.pubsub_agent, opts=usable)
platform = Platform(
    root=Path(__file__).resolve().parent.parent, settings=settings, build=build, sources=buckets.sources, push=push
)

move = Move("move", MoveArgs(platform=platform, prediction=buckets.prediction), usable)
predictions = Delivery("predictions", DeliveryArgs(settings=settings, to=move.function, push=push), usable)
predict = Predict("predict", PredictArgs(platform=platform, predictions=predictions, models=buckets.models), usable)
images = Delivery("images", DeliveryArgs(settings=settings, to=predict.function, push=push), usable)
announcement = Announcement(
    "announcement",
    AnnouncementArgs(
        settings=settings,
        topic=images.topic,
        storage_agent=services.storage_agent,
        predict=predict,
        move=move,
        buckets=buckets,
    ),
    pulumi.ResourceOptions(depends_on=[services, push, move, predictions, predict, images]),
)
if settings.reviewers:
    app_engine = AppEngine("app-engine", AppEngineArgs(platform=platform, services=services), usable)
    review = ReviewApp(
        "review", ReviewAppArgs(platform=platform, app_engine=app_engine, prediction=buckets.prediction), usable
    )
    pulumi.export("reviewUrl", review.url)

paths = {"images": images, "predictions": predictions}
functions = {"predict": predict.function, "move": move.function}
Monitoring(
    "monitoring",
    MonitoringArgs(settings=settings, paths=paths, functions=functions, inbound=announcement.bucket),
    usable,
)

pulumi.export("inboundBucket", announcement.bucket.url)
pulumi.export("predictionBucket", buckets.prediction.url)
pulumi.export("modelsBucket", buckets.models.url)
pulumi.export("uploadCommand", pulumi.Output.concat("gcloud storage cp IMAGE ", announcement.bucket.url))
pulumi.export("deadLetters", {path: delivery.dead_letters.id for path, delivery in paths.items()})
pulumi.export("topics", {path: delivery.topic.id for path, delivery in paths.items()})
