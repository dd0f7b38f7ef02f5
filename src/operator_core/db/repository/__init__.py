"""The async API: one mixin for each topic, without SQL."""
