"""The projection's schema: migrations, monthly partitions, retention."""
