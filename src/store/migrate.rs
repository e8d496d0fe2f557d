//! Numbered migrations. Version n of the schema is what `migrations/0001.sql` to `000n.sql`
//! make, one after the other; `PRAGMA user_version` says which one a file has.
//!
//! Crash argument: a migration and the new version number are one transaction, so a crash leaves
//! the old schema with the old number or the new one with the new number.

use rusqlite::{Connection, TransactionBehavior};

use super::StoreError;

/// "CMRm" in ASCII: tells our files from other programs' databases.
pub(super) const APPLICATION_ID: i64 = 0x434d_526d;

/// One script per version, the first makes version 1.
const MIGRATIONS: &[&str] = &[include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql")];

/// The newest version that this program knows.
pub fn latest() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// The version of the database behind `conn`; 0 is an empty file.
///
/// # Errors
/// [`StoreError::Newer`] and [`StoreError::Foreign`] for files that must not be touched.
pub(super) fn version(conn: &Connection) -> Result<i64, StoreError> {
    let path = conn.path().unwrap_or("(in memory)").to_owned();
    let application: i64 = conn.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let found: i64 = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if application != APPLICATION_ID {
        let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != 0 || found != 0 || tables != 0 {
            return Err(StoreError::Foreign(path));
        }
    }
    if found > latest() {
        return Err(StoreError::Newer { path, found, known: latest() });
    }
    Ok(found)
}

/// Brings the database to the newest version. Doing it again does nothing.
///
/// # Errors
/// As [`version`]; and whatever a migration meets. A failed migration leaves the database as it
/// was.
pub(super) fn migrate(conn: &mut Connection) -> Result<(), StoreError> {
    while version(conn)? < latest() {
        step(conn)?;
    }
    Ok(())
}

/// One version up.
fn step(conn: &mut Connection) -> Result<(), StoreError> {
    // Rebuilding a table drops the old one, which must not cascade into its children. The pragma
    // does nothing inside a transaction, hence outside; the check below takes its place.
    conn.pragma_update(None, "foreign_keys", false)?;
    let done = apply_next(conn);
    conn.pragma_update(None, "foreign_keys", true)?;
    done
}

fn apply_next(conn: &mut Connection) -> Result<(), StoreError> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Read under the lock: another process may have done it meanwhile.
    let have = version(&tx)?;
    let Some(script) = usize::try_from(have).ok().and_then(|at| MIGRATIONS.get(at)) else {
        return Ok(());
    };
    tx.execute_batch(script)?;
    let orphans: i64 = tx.query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |row| row.get(0))?;
    if orphans > 0 {
        return Err(StoreError::Corrupt(format!(
            "{orphans} rows without their parent after migration {}",
            have + 1
        )));
    }
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", have + 1)?;
    tx.commit()?;
    Ok(())
}
