"""The bundled Mix server and its scripted agent."""
