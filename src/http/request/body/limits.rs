//! The limits of request bodies.

use std::time::Duration;

use crate::settings::{count, mebibytes, seconds, settings};

settings! {
    /// What a request body may cost.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BodyLimits {
        bytes: usize = count, "body-max-bytes", "BYTES", "5242880", "The largest body of a request";
        stall: Duration = seconds, "body-stall-seconds", "SECONDS", "30", "The longest silence in the middle of a body";
        total: Duration = seconds, "body-total-seconds", "SECONDS", "300", "The longest time that a body may take";
        memory: usize = mebibytes, "body-memory-mib", "MIB", "256", "Memory for bodies that come in; beyond it what exceeds 64 KiB on a connection is refused as UNAVAILABLE";
    }
    fixed {
        /// Most parameters of a urlencoded form.
        parameters: usize = 5,
        /// Most values in JSON. A value takes two bytes to send and may take a hundred to hold.
        values: usize = 65_536,
    }
}
