"""What every component of this program has in common."""

import pulumi


class Part(pulumi.ComponentResource):
    """A component whose children wait for whatever the component itself was told to wait for.

    Pulumi hands a component's `depends_on` down to nobody; without this, a bucket would be created while its API is
    still being enabled.
    """

    def __init__(self, kind: str, name: str, opts: pulumi.ResourceOptions | None) -> None:
        """`kind` becomes the type token `inspection:part:<kind>`."""
        super().__init__(f"inspection:part:{kind}", name, None, opts)
        self._waits_for = opts.depends_on if opts else None

    def child(
        self,
        *,
        protect: bool | None = None,
        depends_on: list[pulumi.Resource] | None = None,
        replace_with: list[pulumi.Resource] | None = None,
        retain_on_delete: bool | None = None,
        moved_from: pulumi.Resource | None = None,
    ) -> pulumi.ResourceOptions:
        """The options of a child. Deliberately made anew and not merged with the component's own.

        `moved_from` is the component that the child belonged to in earlier versions. The engine then keeps what a stack
        has of it, instead of creating a second one and deleting the first.
        """
        options = pulumi.ResourceOptions(depends_on=self._waits_for)
        own = pulumi.ResourceOptions(
            parent=self,
            protect=protect,
            depends_on=depends_on,
            replace_with=replace_with,
            retain_on_delete=retain_on_delete,
            aliases=[pulumi.Alias(parent=moved_from)] if moved_from else None,
        )
        return pulumi.ResourceOptions.merge(options, own)

    def question(self, *, depends_on: list[pulumi.Resource] | None = None) -> pulumi.InvokeOutputOptions:
        """The options of a question to Google, which also waits; so a first preview stays off the network."""
        return pulumi.InvokeOutputOptions.from_resource_options(self.child(depends_on=depends_on))
