"""Today's exports of other projects, made anew with random weights, and their own answers to the pictures."""
