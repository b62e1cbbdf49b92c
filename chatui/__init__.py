"""What a person sees, and what writes the replies."""
