//! How the values of other rooms stand in columns.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::keys::Scheme;
use crate::keys::exchange::{Derivation, Method};
use crate::message::{Address, HopKey, MessageId, TailHash, UnixTime};
use crate::policy::Scope;

impl ToSql for UnixTime {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.into())
    }
}

impl FromSql for UnixTime {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        i64::column_result(value).map(UnixTime)
    }
}

/// Columns that hold a value's bytes.
macro_rules! as_blob {
    ($type:ty, $read:expr) => {
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let bytes: &[u8] = self.as_bytes();
                Ok(ToSqlOutput::Borrowed(ValueRef::Blob(bytes)))
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let read = $read;
                read(value.as_blob()?).map_err(FromSqlError::other)
            }
        }
    };
}

as_blob!(Address, |bytes: &[u8]| Address::new(bytes));
as_blob!(MessageId, |bytes: &[u8]| MessageId::try_from(bytes));
as_blob!(HopKey, |bytes: &[u8]| HopKey::try_from(bytes));
as_blob!(TailHash, |bytes: &[u8]| TailHash::try_from(bytes));

/// A word in a column that is none of the words it may be.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no {1}")]
pub(super) struct UnknownWord(pub(super) String, pub(super) &'static str);

/// An enum that stands as a word in its column, in JSON and for people.
macro_rules! words {
    (
        $(#[$doc:meta])*
        pub enum $name:ident { $( $(#[$variant_doc:meta])* $variant:ident => $word:literal, )+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$variant_doc])* #[serde(rename = $word)] $variant, )+
        }

        impl $name {
            /// The word for it.
            pub fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl rusqlite::types::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                match value.as_str()? {
                    $( $word => Ok(Self::$variant), )+
                    other => Err(rusqlite::types::FromSqlError::other(
                        $crate::store::sql::UnknownWord(other.to_owned(), stringify!($name)),
                    )),
                }
            }
        }
    };
}
pub(super) use words;

impl ToSql for Scheme {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for Scheme {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map_err(FromSqlError::other)
    }
}

/// Values that have a name and are read from it.
macro_rules! as_name {
    ($type:ty, $what:literal, $($value:expr),+) => {
        impl ToSql for $type {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                Ok(self.name().into())
            }
        }

        impl FromSql for $type {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let name = value.as_str()?;
                [$($value),+]
                    .into_iter()
                    .find(|value| value.name() == name)
                    .ok_or_else(|| FromSqlError::other(UnknownWord(name.to_owned(), $what)))
            }
        }
    };
}

as_name!(Derivation, "derivation", Derivation::Hkdf, Derivation::Raw);
as_name!(Method, "way to exchange keys", Method::Rsa, Method::Dh, Method::Clear);

impl ToSql for Scope {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Scope::Public => "public",
            Scope::Local => "local",
        }
        .into())
    }
}

impl FromSql for Scope {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_str()? {
            "public" => Ok(Scope::Public),
            "local" => Ok(Scope::Local),
            other => Err(FromSqlError::other(UnknownWord(other.to_owned(), "scope"))),
        }
    }
}

/// A value of serde's in a JSON column.
pub(super) struct Json<T>(pub(super) T);

impl<T: serde::Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        serde_json::to_string(&self.0)
            .map(ToSqlOutput::from)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

/// A count out of the database: never negative there.
pub(super) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A count on its way into the database.
pub(super) fn whole(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
