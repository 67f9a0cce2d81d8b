"""What several tests are made of: networks, files, processors."""
