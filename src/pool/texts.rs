//! Where the bodies are: not here. Whoever asks the pool brings them.

/// Gives the body of a cached message by its number, `None` if it is gone meanwhile. The pool asks
/// only for the few messages that it is about to answer with.
pub trait Texts {
    /// The body of a message.
    fn body(&self, seq: i64) -> Option<Vec<u8>>;
}

impl<F: Fn(i64) -> Option<Vec<u8>>> Texts for F {
    fn body(&self, seq: i64) -> Option<Vec<u8>> {
        self(seq)
    }
}
