//! What modules of all kinds use and that knows none of them: the time, the machine's memory, files of keys.

pub mod clock;
pub mod memory;
pub(crate) mod occasional;
pub(crate) mod secret_file;
