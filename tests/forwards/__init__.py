"""Networks with random forward passes as people write them, and what capture makes of them."""
