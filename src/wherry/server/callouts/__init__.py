"""Whom the server calls: webhooks (admission, conversion, authentication, authorization, audit) and extension servers.

services.py finds the addresses behind a Service, client.py asks over HTTPS.
"""
