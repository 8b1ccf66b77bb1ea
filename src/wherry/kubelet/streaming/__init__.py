"""Streams between kubectl and containers: SPDY/3.1 and WebSocket, remote commands and port forwarding.

spdy.py and websocket.py are protocol cores without I/O; remote_command.py and port_forward.py serve them.
"""
