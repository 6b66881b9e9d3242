"""Pub/Sub on this machine: topics, subscriptions and messages in one SQLite file.

`store` keeps messages and who still has to acknowledge them, `catalogue` topics and subscriptions, `broker` delivers; `push` and
`bucket_writer` are the two kinds of subscriber that Google runs itself, `methods` the API, served by `rpc` and `rest`. What is
unsupported stands in `supported`.
"""
