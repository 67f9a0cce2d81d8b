"""Makes the pages of the documentation site that come from other files; see ``mkdocs.yml``."""
