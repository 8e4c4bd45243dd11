"""The services: independent processes that each own one step of the journey."""
