//! The cached messages, searchable.
