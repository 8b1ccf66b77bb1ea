"""Kubernetes' protobuf, in which Go clients send and read the built-in kinds. Read messages.py first."""
