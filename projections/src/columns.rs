//! What a reading statement returns, declared once: the name, the order and the type of each column. From the one list come
//! what is selected and what is read, in single rows and in arrays.

use sqlx::postgres::PgRow;
use sqlx::{Column, Row, ValueRef};

use crate::ReadError;

/// Columns that belong together. In a statement they are called by a part and their name, such as `nickname_position`, and stand
/// one after the other. They are all there or all null; the first one shows which.
pub(crate) trait Columns: Sized {
    /// Their names.
    const NAMES: &'static [&'static str];

    /// Reads them from a row, beginning with this column.
    fn decode(row: &PgRow, first: usize) -> Result<Self, ReadError>;

    /// Reads as many as there are from a row in which each is an array, beginning with this column.
    fn decode_arrays(row: &PgRow, first: usize) -> Result<Vec<Option<Self>>, ReadError>;

    /// The columns of a table, under their own names.
    fn of(table: &str) -> String {
        list::<Self>(|name| format!("{table}.{name}"))
    }

    /// The columns of a table, as a part of what is returned.
    fn part(table: &str, part: &str) -> String {
        list::<Self>(|name| format!("{table}.{name} as {part}_{name}"))
    }

    /// The columns of all rows as arrays, as a part of what is returned.
    fn arrays(part: &str) -> String {
        list::<Self>(|name| format!("array_agg({name}) as {part}_{name}"))
    }

    /// Reads [`Columns::part`]; none where they are null.
    fn read(row: &PgRow, part: &str) -> Result<Option<Self>, ReadError> {
        let first = first::<Self>(row, part)?;
        if row.try_get_raw(first)?.is_null() { Ok(None) } else { Self::decode(row, first).map(Some) }
    }

    /// Reads [`Columns::arrays`]; none for each row in which they were null.
    fn read_arrays(row: &PgRow, part: &str) -> Result<Vec<Option<Self>>, ReadError> {
        Self::decode_arrays(row, first::<Self>(row, part)?)
    }
}

fn list<C: Columns>(column: impl Fn(&str) -> String) -> String {
    C::NAMES.iter().map(|name| column(name)).collect::<Vec<_>>().join(", ")
}

/// Where a part begins in a row.
fn first<C: Columns>(row: &PgRow, part: &str) -> Result<usize, ReadError> {
    let name = format!("{part}_{}", C::NAMES.first().copied().unwrap_or_default());
    Ok(row.try_column(name.as_str())?.ordinal())
}

/// Declares [`Columns`] as a struct with a field for each.
macro_rules! columns {
    ($(#[$meta:meta])* $name:ident { $($column:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[derive(Debug)]
        pub(crate) struct $name {
            $(pub(crate) $column: $type,)+
        }

        impl $crate::columns::Columns for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($column)),+];

            fn decode(row: &sqlx::postgres::PgRow, first: usize) -> Result<Self, $crate::ReadError> {
                let mut at = first..;
                Ok(Self { $($column: $crate::columns::next(row, &mut at)?,)+ })
            }

            fn decode_arrays(row: &sqlx::postgres::PgRow, first: usize) -> Result<Vec<Option<Self>>, $crate::ReadError> {
                let mut at = first..;
                $(let mut $column = $crate::columns::next_array::<$type>(row, &mut at)?;)+
                // A row of nulls has none of them, a row of values all.
                let row = || Some(match ($($column.next()?,)+) {
                    ($(Some($column),)+) => Some(Self { $($column,)+ }),
                    _ => None,
                });
                Ok(std::iter::from_fn(row).collect())
            }
        }
    };
}
pub(crate) use columns;

/// The next column of a row.
pub(crate) fn next<'r, T>(row: &'r PgRow, at: &mut std::ops::RangeFrom<usize>) -> Result<T, ReadError>
where
    T: sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    Ok(row.try_get(at.next().unwrap_or_default())?)
}

/// The values of the next column of a row, which is an array or, where there was no row, null.
pub(crate) fn next_array<T>(
    row: &PgRow,
    at: &mut std::ops::RangeFrom<usize>,
) -> Result<std::vec::IntoIter<Option<T>>, ReadError>
where
    Option<Vec<Option<T>>>: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
{
    Ok(next::<Option<Vec<Option<T>>>>(row, at)?.unwrap_or_default().into_iter())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stored::SealedRow;

    #[test]
    fn the_names_are_those_of_the_declaration_in_its_order() {
        assert_eq!(SealedRow::of("t"), "t.key, t.nonce, t.bytes");
        assert_eq!(
            SealedRow::part("t", "status"),
            "t.key as status_key, t.nonce as status_nonce, t.bytes as status_bytes"
        );
        assert_eq!(
            SealedRow::arrays("name"),
            "array_agg(key) as name_key, array_agg(nonce) as name_nonce, array_agg(bytes) as name_bytes",
        );
    }
}
