"""Finding out who asks: client certificates, tokens, or nobody."""
