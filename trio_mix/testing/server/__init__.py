"""The bundled Mix server."""
