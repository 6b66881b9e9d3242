"""The review app: a person decides on the pictures that the model was not sure of.

:mod:`webapp.main` puts it together; :mod:`webapp.reviewing` is what happens to a picture; :mod:`webapp.guard` is who
may ask. The buckets are the truth: there is no database, and any number of instances can run side by side.
"""
