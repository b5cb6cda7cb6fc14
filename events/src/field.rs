//! Length-prefixed fields: whatever is hashed or authenticated together is put together from these, so
//! that no byte can move from one field to the next.

/// The version of the canonical bytes and of the associated data of sealed payloads.
pub const CANONICAL_VERSION: u8 = 1;

/// Appends one field: its length as 4 bytes, big-endian, then its bytes.
///
/// ```
/// let mut out = Vec::new();
/// be8_events::put_field(&mut out, b"ab");
/// assert_eq!(out, [0, 0, 0, 2, b'a', b'b']);
/// ```
pub fn put_field(out: &mut Vec<u8>, field: &[u8]) {
    out.extend_from_slice(&field_length(field));
    out.extend_from_slice(field);
}

/// The length of a field, as written before it.
pub fn field_length(field: &[u8]) -> [u8; 4] {
    // A field is a name, a number or one bounded payload; 4 GiB cannot be reached.
    u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes()
}

/// Takes what [`put_field`] appended from the front; none if it is cut off.
pub(crate) fn take_field<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = from.split_first_chunk()?;
    let (field, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    *from = rest;
    Some(field)
}
