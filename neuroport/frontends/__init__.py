"""Front ends: networks that others wrote become graphs of integers, and graphs become theirs."""
