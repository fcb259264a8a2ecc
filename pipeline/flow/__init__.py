"""The flow on Ray: shards of a manifest become committed parts, whatever fails on the way."""
