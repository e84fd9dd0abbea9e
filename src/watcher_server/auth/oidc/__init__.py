"""Logging in through a provider: OpenID Connect, authorization code with PKCE, state and nonce."""
