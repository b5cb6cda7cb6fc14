//! Reads from memory: the same answers as from PostgreSQL, byte for byte, at every position; nothing that was erased; and what
//! happens when the log cannot be followed.

mod differential;
mod erasure;
mod faults;
mod image;

use crate::server::Setup;

/// How servers keep what they read: as they do by default, almost nothing, and so little that everything is thrown out all the
/// time. With bytes, events of the tail, and milliseconds by which the log is followed late.
const NORMAL: &str = "33554432,4096,0";
const SMALL: &str = "16384,1,0";
const TINY: &str = "2048,1,1";

impl Setup {
    /// With views of this size, whose reads are not limited.
    fn with_views(self, size: &str) -> Self {
        self.with("test-views", size).with("limit-address", "off").with("limit-account", "off")
    }
}
