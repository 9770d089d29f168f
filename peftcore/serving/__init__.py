"""What it costs to serve a method: to load its adapter, to swap it, and to predict with it."""
