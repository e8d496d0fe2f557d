//! Who may agree on a key with us by messages (A5).

use super::Standing;

/// What is known when a peer's message with a key exchange comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker {
    /// How the address stands with us.
    pub standing: Standing,
    /// A key is shared already, and messages of this peer verify under it.
    pub keyed: bool,
    /// This message verified under a key, or its mail is known to be of this address.
    pub proven: bool,
    /// The operator lets this peer ask for a new key.
    pub allowed: bool,
}

/// Why no key is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoExchange {
    /// Somebody nobody knows: the reply could go to a victim.
    #[error(
        "nothing shows that this key exchange comes from its sender: keys are agreed on with peers that \
         sent authenticated mail before, or that the operator pinned"
    )]
    Stranger,
    /// A key is shared: another one is the operator's decision.
    #[error(
        "a key is shared with this peer already; a new one is agreed on only if the operator here allows it \
         (cmr-mail keys allow)"
    )]
    Keyed,
    /// A secret that everybody on the way could read.
    #[error(
        "a key in clear is taken only over a channel that proves who sends it; ask by RSA or Diffie-Hellman"
    )]
    Clear,
    /// A reply that does not show who sent it, from a peer that can show it.
    #[error("nothing shows that this reply comes from the peer that was asked")]
    Unproven,
    /// Nobody asked.
    #[error("no key exchange is open with this peer, so there is nothing to reply to")]
    NobodyAsked,
    /// An address to which the reply can't go.
    #[error("the reply to this key exchange can't go to its sender from here")]
    Unreachable,
    /// More than anybody needs.
    #[error("there were too many key exchanges lately; try again in an hour")]
    TooMany,
}

/// Whether a peer's request for a key is answered.
///
/// A first key needs an address to which anything automatic may go: the reply, and so the key,
/// reaches only who reads mail there. Another key, beside one that is shared, needs the
/// operator: else whoever once gets a message in under the old key could change the lock.
///
/// # Errors
/// Why not.
pub fn may_ask(asker: Asker) -> Result<(), NoExchange> {
    if asker.allowed {
        return Ok(());
    }
    if asker.keyed {
        return Err(NoExchange::Keyed);
    }
    let Standing { listed, pinned, authenticated, .. } = asker.standing;
    if listed || pinned || authenticated || asker.proven { Ok(()) } else { Err(NoExchange::Stranger) }
}

/// Whether a peer's reply to our request is believed. From a peer whose mail is known to be its own
/// at other times, a reply that could be anybody's is not.
///
/// # Errors
/// Why not.
pub fn may_reply(asker: Asker) -> Result<(), NoExchange> {
    if asker.proven || !(asker.keyed || asker.standing.authenticated) {
        Ok(())
    } else {
        Err(NoExchange::Unproven)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_agree_on_a_key() {
        use NoExchange::{Keyed, Stranger, Unproven};
        let pinned = Standing { pinned: true, ..Standing::default() };
        let listed = Standing { listed: true, ..Standing::default() };
        let known = Standing { authenticated: true, ..Standing::default() };
        let vouched = Standing { vouched: true, ..Standing::default() };
        let nobody = Standing::default();
        // standing, keyed, proven, allowed; may ask, may reply
        let table = [
            (nobody, false, false, false, Err(Stranger), Ok(())),
            (vouched, false, false, false, Err(Stranger), Ok(())),
            (nobody, false, true, false, Ok(()), Ok(())),
            (pinned, false, false, false, Ok(()), Ok(())),
            (listed, false, false, false, Ok(()), Ok(())),
            (known, false, false, false, Ok(()), Err(Unproven)),
            (known, false, true, false, Ok(()), Ok(())),
            (pinned, true, true, false, Err(Keyed), Ok(())),
            (pinned, true, false, false, Err(Keyed), Err(Unproven)),
            (pinned, true, true, true, Ok(()), Ok(())),
            (nobody, true, false, true, Ok(()), Err(Unproven)),
        ];
        for (standing, keyed, proven, allowed, ask, reply) in table {
            let asker = Asker { standing, keyed, proven, allowed };
            assert_eq!(may_ask(asker), ask, "{asker:?}");
            assert_eq!(may_reply(asker), reply, "{asker:?}");
        }
    }
}
