//! What can go wrong with the database, by cause: the caller turns a cause into its own answer
//! (an SMTP 4xx, an exit code) and never has to read SQLite's text.

use rusqlite::ErrorCode;

/// An error of the store. It is `Clone`, because one failed commit is told to every waiter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room: the disk, a quota or the database's own page limit. Nothing of the job was kept.
    #[error("no room left for the database: {0}")]
    Full(String),
    /// Another process held the lock for longer than the busy timeout. Nothing was kept.
    #[error("the database is locked by another process: {0}")]
    Busy(String),
    /// The operating system refused a read, write or sync. Whether the job was kept is unknown
    /// (a failed sync may still have reached the disk); the sender has to repeat it.
    #[error("the disk under the database failed: {0}")]
    Io(String),
    /// The file is damaged or is no database.
    #[error("the database is damaged: {0}")]
    Corrupt(String),
    /// The database was written by a newer version of this program.
    #[error(
        "the database {path} has version {found}, this program knows versions up to {known}: \
         use the newer cmr-mail that wrote it, or restore a backup made before the upgrade"
    )]
    Newer {
        /// The database file.
        path: String,
        /// The version in the file.
        found: i64,
        /// The newest version that this program can read.
        known: i64,
    },
    /// The database was written by an older version of this program, and who only reads leaves it so.
    #[error(
        "the database {path} has version {found}, this program works with version {known}: the daemon brings it up \
         to date when it starts; cmr-mail backup makes a copy of it as it is"
    )]
    Older {
        /// The database file.
        path: String,
        /// The version in the file.
        found: i64,
        /// The version that this program works with.
        known: i64,
    },
    /// The file is a SQLite database of some other program.
    #[error("{0} is a database of another program; choose another data_dir")]
    Foreign(String),
    /// The data directory or a file in it can't be used.
    #[error("{0}")]
    Place(String),
    /// A file that is to be restored is no copy of this database.
    #[error("{0}")]
    NoCopy(String),
    /// A rule of the schema refused the row.
    #[error("the database refused a row: {0}")]
    Constraint(String),
    /// A row held something this program can't read: damage, or a bug.
    #[error("a row of the database can't be read: {0}")]
    Row(String),
    /// The row that an operation was about does not exist (any more).
    #[error("there is no such {0}")]
    Missing(&'static str),
    /// The store was closed.
    #[error("the database is closed")]
    Closed,
    /// The job panicked; its own writes were rolled back, the writer lives on.
    #[error("an error in the program while writing to the database: {0}")]
    Panicked(String),
    /// The store was used in a way it can't serve.
    #[error("wrong use of the database: {0}")]
    Misuse(&'static str),
    /// Anything else that SQLite says: wrong SQL, out of memory, ...
    #[error("database error: {0}")]
    Sql(String),
}

impl StoreError {
    /// Whether the same request may succeed later without anybody changing the program or the
    /// data: the causes that deserve a 4xx.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Full(_) | Self::Busy(_) | Self::Io(_) | Self::Closed)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let text = error.to_string();
        match error {
            E::SqliteFailure(cause, _) | E::SqlInputError { error: cause, .. } => by_code(cause.code, text),
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..)
            | E::InvalidColumnType(..) => Self::Row(text),
            E::QueryReturnedNoRows => Self::Missing("row"),
            _ => Self::Sql(text),
        }
    }
}

fn by_code(code: ErrorCode, text: String) -> StoreError {
    match code {
        ErrorCode::DiskFull => StoreError::Full(text),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Busy(text),
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::ReadOnly
        | ErrorCode::PermissionDenied
        | ErrorCode::FileLockingProtocolFailed => StoreError::Io(text),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Corrupt(text),
        ErrorCode::ConstraintViolation => StoreError::Constraint(text),
        _ => StoreError::Sql(text),
    }
}
