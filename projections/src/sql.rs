//! Numbering the parameters of a statement that several parts are put together into.

/// The parameters of a statement under construction.
#[derive(Debug, Clone, Copy)]
pub struct Parameters(usize);

impl Parameters {
    /// The first `taken` parameters are in use.
    pub const fn after(taken: usize) -> Self {
        Self(taken)
    }

    /// The next `types.len()` parameters, joined by commas and cast to arrays of these types:
    /// what stands between the parentheses of an `unnest`.
    pub fn arrays(&mut self, types: &[&str]) -> String {
        let mut out = String::new();
        for (i, kind) in types.iter().enumerate() {
            self.0 += 1;
            if i > 0 {
                out.push_str(", ");
            }
            out.push_str(&format!("${}::{kind}[]", self.0));
        }
        out
    }
}
