"""What the service changes about Ray and Serve around it: addresses, order of ending, authentication."""
