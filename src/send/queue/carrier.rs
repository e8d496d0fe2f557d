//! Deliveries by mail: composed when they leave, and submitted.

use super::Delivery;
use crate::send::mailto::{Heard, Mailto, Submission};
use crate::send::outcome::{Outcome, Trouble};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thiserror::Error;

/// Why a delivery could not be made into a mail.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ComposeFault {
    /// What it was about is gone, or may not be sent any more.
    #[error("{0}")]
    Never(String),
    /// Something is missing now: a key that is being exchanged, the database.
    #[error("{0}")]
    Later(String),
}

/// Makes mails with the house's composer and submits them.
///
/// The composer runs on a thread for blocking work, because it reads the database; it is called
/// for each attempt anew, because only then the signature is made.
pub struct MailCarrier<C> {
    mailto: Mailto,
    compose: Arc<C>,
    /// What is being said at each delivery that is under way.
    heard: Mutex<HashMap<i64, Heard>>,
}

impl<C> MailCarrier<C>
where
    C: Fn(&Delivery) -> Result<Submission, ComposeFault> + Send + Sync + 'static,
{
    /// Puts a composer and a smarthost together.
    pub fn new(mailto: Mailto, compose: C) -> Self {
        Self { mailto, compose: Arc::new(compose), heard: Mutex::default() }
    }

    /// The smarthost's client, to close its connections at the end.
    #[must_use]
    pub fn mailto(&self) -> &Mailto {
        &self.mailto
    }

    /// What was said at the last attempt; it is forgotten by that.
    pub fn transcript(&self, delivery: &Delivery) -> Option<String> {
        let heard = self.heard().remove(&delivery.id)?;
        Some(heard.text()).filter(|text| !text.is_empty())
    }

    fn heard(&self) -> MutexGuard<'_, HashMap<i64, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One attempt.
    pub async fn carry(&self, delivery: &Delivery) -> Outcome {
        let compose = Arc::clone(&self.compose);
        let subject = delivery.clone();
        let composed = tokio::task::spawn_blocking(move || compose(&subject)).await;
        let submission = match composed {
            Ok(Ok(submission)) => submission,
            Ok(Err(ComposeFault::Never(reason))) => return Outcome::Fail { reason, reply: None },
            Ok(Err(ComposeFault::Later(reason))) => return later(reason),
            // A fault of this program about one mail: it must not end the worker, and an update
            // may mend it before the delivery is given up.
            Err(error) => return later(format!("an error in the program while composing: {error}")),
        };
        let heard = Heard::default();
        self.heard().insert(delivery.id, heard.clone());
        match self.mailto.submit_heard(&submission, &heard).await {
            Ok(receipt) => Outcome::Done(receipt.reply),
            Err(error) => self.mailto.outcome(&error),
        }
    }
}

fn later(reason: String) -> Outcome {
    Outcome::Retry { trouble: Trouble::Later, reason }
}
