"""ASGI apps: routes to wire to services to wire; listeners, proxy and CA."""
