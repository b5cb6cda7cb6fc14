//! Rows in the binary format of `COPY`: the fastest way into a table.

use sqlx::PgConnection;

use crate::Generation;

/// Rows for one table.
#[derive(Debug)]
pub(crate) struct Rows {
    table: &'static str,
    columns: &'static str,
    bytes: Vec<u8>,
}

/// Signature, flags and the length of the extension (PostgreSQL, "COPY", binary format).
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

impl Rows {
    pub(crate) fn new(table: &'static str, columns: &'static str, rows: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER.len() + 2 + rows * 64);
        bytes.extend_from_slice(HEADER);
        Self { table, columns, bytes }
    }

    /// Begins a row of this many columns.
    pub(crate) fn row(&mut self, columns: i16) -> &mut Self {
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self
    }

    pub(crate) fn int4(&mut self, value: i32) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    pub(crate) fn int8(&mut self, value: i64) -> &mut Self {
        self.field(&value.to_be_bytes())
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
        self
    }

    fn field(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(&i32::try_from(bytes.len()).unwrap_or(i32::MAX).to_be_bytes());
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Writes the rows.
    pub(crate) async fn write(mut self, connection: &mut PgConnection, to: Generation) -> Result<(), sqlx::Error> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        let statement = format!("copy {to}.{} ({}) from stdin (format binary)", self.table, self.columns);
        let mut copy = connection.copy_in_raw(&statement).await?;
        copy.send(self.bytes).await?;
        copy.finish().await?;
        Ok(())
    }
}
