"""The Pulumi program: `__main__` composes, each other file is one kind of thing."""
