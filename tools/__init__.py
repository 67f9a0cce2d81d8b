"""Programs that make documents; nothing of them is part of the package."""
