"""Outbox mode (BROKER_URL): the table stays the truth, and RabbitMQ or Redis carries the ids of jobs that are due.

`wire.py` is dramatiq's own broker as a carrier; `relay.py` publishes; `link.py` and `consumer.py` receive and claim.
"""
