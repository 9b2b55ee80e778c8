"""Services: processes of their own, one ASGI application each."""
