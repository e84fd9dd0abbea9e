"""Questions from an assistant: tools over the Model Context Protocol that read what Watcher knows, and change little.

``routes.py`` takes the request, ``server.py`` finds the tool, ``tools.py`` says which there are, ``arguments.py`` what
they take; each other module answers. The package of the SDK is imported in ``server.py`` and ``bridge.py`` alone.
"""
