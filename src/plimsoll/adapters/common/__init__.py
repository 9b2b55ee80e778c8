"""What the adapters share. It knows no framework: what belongs to one stands in that one's package."""
