"""Networks of snnTorch and SpikingJelly, as their users write them."""
