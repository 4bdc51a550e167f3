//! All that a plugin writer depends on: records, stages, and the C border between plugin and host.
