"""Who is told: channels, routes, calendars and windows, over HTTP and as a file."""
