//! What happens in the folder to mails that were taken: they are marked, moved or deleted.
//!
//! Every way can be repeated without harm, because it is repeated when it was interrupted: a flag
//! that is set again, mails that are gone already. Only a COPY would be made twice, so before it is
//! repeated the other folder is asked which of the mails it has.

use super::session::Session;
use super::trouble::Trouble;
use crate::config::{After, Imap};

/// Does what is configured, with mails of the open folder, whose UIDVALIDITY is `validity`.
/// `interrupted`: it may have been begun before.
///
/// # Errors
/// The server refuses, the session broke, or the folder is another one by now.
pub(super) fn carry_out(
    session: &mut Session,
    account: &Imap,
    validity: u32,
    uids: &[u32],
    interrupted: bool,
) -> Result<(), Trouble> {
    match &account.after {
        After::Keep => Ok(()),
        After::Seen => session.flag(uids, "\\Seen"),
        After::Delete => {
            session.flag(uids, "\\Deleted")?;
            session.expunge(uids)
        }
        After::Move(to) if session.skills().moves => session.move_to(uids, to),
        After::Move(to) => {
            let there = if interrupted { copied_before(session, uids, to)? } else { Vec::new() };
            if interrupted {
                session.select_again(&account.folder, validity)?;
            }
            let missing: Vec<u32> = uids.iter().copied().filter(|uid| !there.contains(uid)).collect();
            if !missing.is_empty() {
                session.copy_to(&missing, to)?;
            }
            session.flag(uids, "\\Deleted")?;
            session.expunge(uids)
        }
    }
}

/// Those of these mails that stand in the other folder already, which is open afterwards. One without
/// a proper Message-ID can't be found again.
fn copied_before(session: &mut Session, uids: &[u32], to: &str) -> Result<Vec<u32>, Trouble> {
    let ids = session.message_ids(uids)?;
    let names: Vec<String> = ids.iter().map(|(_, id)| id.clone()).collect();
    let there = session.which_are_in(to, &names)?;
    Ok(ids.into_iter().filter(|(_, id)| there.contains(id)).map(|(uid, _)| uid).collect())
}
