"""Reading Kubernetes' protobuf, in which Go clients send the built-in kinds; they are answered in JSON."""
