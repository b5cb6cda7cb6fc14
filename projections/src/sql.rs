//! Numbering the parameters of a statement that several parts are put together into.

/// The parameters of a statement under construction.
#[derive(Debug)]
pub struct Parameters(usize);

impl Parameters {
    /// The first `taken` parameters are in use.
    pub const fn after(taken: usize) -> Self {
        Self(taken)
    }

    /// The next `types.len()` parameters, joined by commas and cast to arrays of these types:
    /// what stands between the parentheses of an `unnest`.
    ///
    /// ```
    /// let mut parameters = be8_projections::Parameters::after(2);
    /// assert_eq!(parameters.arrays(&["bigint", "text"]), "$3::bigint[], $4::text[]");
    /// assert_eq!(parameters.arrays(&["bytea"]), "$5::bytea[]");
    /// ```
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
