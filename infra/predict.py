"""The function that asks the model, and what it may do."""

from dataclasses import dataclass

import pulumi
from pulumi_gcp import projects, pubsub, storage, vertex

from infra.delivery import Delivery
from infra.function import Function, Platform
from infra.part import Part
from inspection.environment import PredictEnvironment
from inspection.model_id import Backend, ModelId


@dataclass(frozen=True, kw_only=True)
class PredictArgs:
    """Where it runs, where predictions go, and where the stack's own model files are."""

    platform: Platform
    predictions: Delivery
    models: storage.Bucket


class Predict(Part):
    """Reads an announced image, has it classified, publishes the prediction."""

    function: Function

    def __init__(self, name: str, args: PredictArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Two grants, to ask the model and to publish; the third, to read, is on the inbound bucket: `announcement.py`."""
        super().__init__("Predict", name, opts)
        settings = args.platform.settings
        model = settings.model
        self.function = Function(
            name,
            platform=args.platform,
            limits=settings.predict,
            does="classifies each new image",
            # From the name and not from the id, which a preview cannot know.
            environment=args.predictions.topic.name.apply(
                lambda topic: PredictEnvironment(
                    model=model, topic=f"projects/{settings.project}/topics/{topic}", labels=settings.labels
                ).to_variables()
            ),
            kind=model.backend,
            opts=self.child(),
        )
        self._member = self.function.account.member
        pubsub.TopicIAMMember(
            f"{name}-publisher",
            topic=args.predictions.topic.name,
            role="roles/pubsub.publisher",
            member=self._member,
            # Without a subscription, what it publishes would be lost.
            opts=self.child(depends_on=[args.predictions]),
        )
        self._grant_model(f"{name}-model-user", model, args)
        self.register_outputs({"uri": self.function.uri})

    def _grant_model(self, name: str, model: ModelId, args: PredictArgs) -> None:
        """In the model's own project, which need not be the stack's."""
        if model.backend is Backend.OWN:
            ours = model.bucket == args.platform.settings.models_bucket
            storage.BucketIAMMember(
                name,
                bucket=args.models.name if ours else model.bucket,
                role="roles/storage.objectViewer",
                member=self._member,
                opts=self.child(),
            )
            return
        if model.backend is Backend.VERTEX:
            # The narrowest predefined role with aiplatform.endpoints.predict, on this one endpoint. A custom role with
            # that permission alone would be narrower, but its id stays taken for weeks after `pulumi destroy`.
            vertex.AiEndpointIamMember(
                name,
                project=model.project,
                location=model.location,
                endpoint=model.resource,
                role="roles/aiplatform.user",
                member=self._member,
                opts=self.child(),
            )
        else:
            # A model of AutoML Vision has no policy that could be declared.
            projects.IAMMember(
                name, project=model.project, role="roles/automl.predictor", member=self._member, opts=self.child()
            )
