"""The async API: one mixin per topic, without SQL."""
