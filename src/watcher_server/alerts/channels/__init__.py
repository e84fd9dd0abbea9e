"""The channels: a module for each type, which renders an alert and sends it."""
