//! Which bytes of a partition matter.
//!
//! In: a partition (a window of the disk). Out: extents, ascending, disjoint, whole blocks; all else may be skipped.
//! Promise: a byte that a file system can read back is never outside an extent. When in doubt: all of it.
