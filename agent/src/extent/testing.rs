//! Helpers for this folder's tests.
