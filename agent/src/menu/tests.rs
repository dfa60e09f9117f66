//! Screens, by keys and events.
