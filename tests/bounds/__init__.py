"""Small requests stay small work: bounds of what is sent, of what it costs and of what comes back."""
