"""Grants that something needs as soon as it is created: at Google, a new grant takes effect minutes after it is made."""

import asyncio
from collections.abc import Sequence

import pulumi


def settled(
    name: str, grants: Sequence[pulumi.CustomResource], *, seconds: int, opts: pulumi.ResourceOptions
) -> pulumi.Stash:
    """Return a resource that is created `seconds` after the last of the grants: what depends on it may use them.

    Google says of a new grant: "Typically 2 minutes, potentially 7 minutes or longer"
    (https://cloud.google.com/iam/docs/access-change-propagation).

    The resource holds the ids of the grants, and nothing of it exists outside the stack's state. The engine waits when it
    creates the resource, and again when another grant has joined or replaced one; never in a preview or a later `up`. An `up`
    that is interrupted in the wait has not created it, so that the next one waits.
    """

    async def wait(_: pulumi.ResourceHookArgs) -> None:
        if seconds:
            pulumi.log.info(f"{name}: new grants take effect within {seconds} s, as a rule. Waiting.")
        # Asynchronously: the program answers all of the engine's calls in one loop.
        await asyncio.sleep(seconds)

    # Before, and not after: the engine locks the new resource for `after_create`, and stops all others when it saves the
    # state meanwhile (pulumi 3.260 and its Python SDK 3.272).
    hooks = pulumi.ResourceHookBinding(before_create=[wait], before_update=[wait])
    waiting = pulumi.ResourceOptions(depends_on=[*grants], hooks=hooks)
    return pulumi.Stash(name, input=[grant.id for grant in grants], opts=pulumi.ResourceOptions.merge(opts, waiting))
