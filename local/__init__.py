"""A cloud on your own machine: what the Pulumi program declares, running here.

Nothing here imports the code of a deployed part; the parts see ordinary Google endpoints.
"""
