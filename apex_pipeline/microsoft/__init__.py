"""Microsoft's identity platform and Graph: tokens, connections, credential expiry."""
