//! The methods: the configured router, plain compressors, and what the field uses.

use super::baseline::{Bayes, Neighbours, Svm, Weighting};
use crate::distance::{ByteCoder, Coder, Deflate, Measured, Metric, Zstd, newest};
use crate::message::{Address, MessageId};
use crate::policy::Scope;
use crate::pool::{Audience, Entry, Limits, Pool, Query};
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Something that learns texts under numbers (labels, or mails) and tells which number fits
/// another text best.
pub trait Finder {
    /// Adds a text. For labels, many texts have one number; for threads, each has its own.
    fn learn(&mut self, number: u32, author: &str, text: &Arc<[u8]>);

    /// After the first texts, before the first question: trains what has to be trained in batch.
    fn prepare(&mut self) {}

    /// The best `k` numbers, best first; fewer if nothing is known about more.
    fn find(&mut self, text: &[u8], k: usize) -> Vec<u32>;

    /// The memory that it holds beside the texts themselves, if that is known.
    fn bytes(&self) -> Option<u64> {
        None
    }
}

/// The methods that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The router as it is configured.
    Default,
    /// Deflate 6 on everything, one by one.
    Deflate,
    /// zstd 3, with each as dictionary.
    Zstd,
    /// The byte context model, one by one.
    Bytes,
    /// BM25 (Robertson, Zaragoza 2009), k1 = 1.2, b = 0.75.
    Bm25,
    /// BM25 with the rarity of words squared.
    Bm25Squared,
    /// Cosine of TF-IDF vectors, nearest neighbours.
    Knn,
    /// Complement naive Bayes (Rennie et al. 2003) on TF-IDF. Labels only.
    Bayes,
    /// Linear support vector machine on TF-IDF, one against the rest. Labels only.
    Svm,
}

impl Method {
    /// All of them, the configured one first.
    pub const ALL: [Method; 9] = [
        Method::Default,
        Method::Deflate,
        Method::Zstd,
        Method::Bytes,
        Method::Bm25,
        Method::Bm25Squared,
        Method::Knn,
        Method::Bayes,
        Method::Svm,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Method::Default => "default",
            Method::Deflate => "deflate",
            Method::Zstd => "zstd",
            Method::Bytes => "bytes",
            Method::Bm25 => "bm25",
            Method::Bm25Squared => "bm25-squared",
            Method::Knn => "knn",
            Method::Bayes => "bayes",
            Method::Svm => "svm",
        }
    }

    /// Whether it can only choose among labels that it was trained for in batch.
    #[must_use]
    pub fn needs_labels(self) -> bool {
        matches!(self, Method::Bayes | Method::Svm)
    }

    /// Whether a metric changes anything about it.
    #[must_use]
    pub fn has_metric(self) -> bool {
        matches!(self, Method::Default | Method::Deflate | Method::Zstd | Method::Bytes)
    }

    /// A finder of this method. With `labels` the answers are labels, else mails.
    #[must_use]
    pub fn finder(self, settings: Settings, labels: bool) -> Box<dyn Finder> {
        let scan = |coder: Arc<dyn Coder>| Box::new(Scan::new(coder, settings.metric));
        match self {
            Method::Default => Box::new(PoolFinder::new(settings, labels)),
            Method::Deflate => scan(Arc::new(Deflate::default())),
            Method::Zstd => scan(Arc::new(Zstd::default())),
            Method::Bytes => scan(Arc::new(ByteCoder::default())),
            Method::Bm25 => Box::new(Neighbours::new(Weighting::Bm25, labels)),
            Method::Bm25Squared => Box::new(Neighbours::new(Weighting::Bm25Squared, labels)),
            Method::Knn => Box::new(Neighbours::new(Weighting::Cosine, labels)),
            Method::Bayes => Box::new(Bayes::default()),
            Method::Svm => Box::new(Svm::default()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Not the name of a method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no method; there are {list}", list = Method::ALL.map(Method::name).join(", "))]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(s: &str) -> Result<Self, UnknownMethod> {
        Method::ALL.into_iter().find(|m| m.name() == s).ok_or_else(|| UnknownMethod(s.to_owned()))
    }
}

/// What the configuration says about comparing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// What "near" means.
    pub metric: Metric,
    /// The cost of pointing back, bits per doubling.
    pub age: f64,
}

/// The router's own search: [`Pool::best_peers`] for labels, [`Pool::search`] for mails.
pub struct PoolFinder {
    pool: Pool,
    settings: Settings,
    /// For labels: their peers. Else empty, and mails are asked for.
    peers: Vec<Address>,
    labels: bool,
    next: i64,
    /// What the pool borrows where it needs a text itself.
    texts: HashMap<i64, Arc<[u8]>>,
}

impl PoolFinder {
    /// An empty pool without bounds.
    #[must_use]
    pub fn new(settings: Settings, labels: bool) -> Self {
        let limits = Limits {
            max_messages: usize::MAX,
            max_bytes: u64::MAX,
            share_percent: 100,
            max_profiles: usize::MAX,
            ..Limits::default()
        };
        PoolFinder {
            pool: Pool::new(limits),
            settings,
            peers: Vec::new(),
            labels,
            next: 0,
            texts: HashMap::new(),
        }
    }

    /// The pool.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }
}

/// A made-up address for a label, an author or a peer; none for a name with a line end in it.
#[must_use]
pub fn address(name: &str) -> Option<Address> {
    Address::new(format!("x:{name}")).ok()
}

/// A public message for a pool.
#[must_use]
pub fn entry(seq: i64, sender: &Address, author: &Address) -> Entry {
    Entry {
        seq,
        id: MessageId::from(seq.to_be_bytes()),
        sender: sender.clone(),
        hops: vec![sender.clone()],
        author: author.clone(),
        scope: Scope::Public,
    }
}

impl Finder for PoolFinder {
    fn learn(&mut self, number: u32, author: &str, text: &Arc<[u8]>) {
        let Some(author) = address(author) else { return };
        if !self.labels {
            self.pool.insert(&entry(i64::from(number), &author, &author), text);
            self.texts.insert(i64::from(number), Arc::clone(text));
            return;
        }
        while self.peers.len() <= number as usize {
            self.peers.extend(address(&self.peers.len().to_string()));
        }
        if let Some(sender) = self.peers.get(number as usize) {
            self.pool.insert(&entry(self.next, sender, &author), text);
            self.next += 1;
        }
    }

    fn find(&mut self, text: &[u8], k: usize) -> Vec<u32> {
        let Settings { metric, age } = self.settings;
        if self.labels {
            let best = self.pool.best_peers(text, k, metric);
            let number = |address: &Address| address.as_str()?.strip_prefix("x:")?.parse().ok();
            let mut found: Vec<u32> = best.iter().filter_map(|cost| number(&cost.address)).collect();
            // Of the others nothing is known about this: they come in their own order.
            let others = (0..).take(self.peers.len()).take_while(|_| found.len() < k);
            let rest: Vec<u32> =
                others.filter(|number| !found.contains(number)).take(k - found.len()).collect();
            found.extend(rest);
            return found;
        }
        let query = Query { metric, age, ..Query::new(text, Audience::Public) };
        let texts = |seq: i64| self.texts.get(&seq).map(|text| text.to_vec());
        let found = self.pool.search(&query, k, &texts);
        found.into_iter().filter_map(|scored| u32::try_from(scored.seq).ok()).collect()
    }

    fn bytes(&self) -> Option<u64> {
        u64::try_from(self.pool.memory_bytes()).ok()
    }
}

/// A compressor, asked about every label or mail.
pub(super) struct Scan {
    coder: Arc<dyn Coder>,
    metric: Metric,
    known: Vec<Known>,
    place: HashMap<u32, usize>,
}

struct Known {
    number: u32,
    text: Vec<u8>,
    /// C(Y), once it was asked for.
    bits: Option<f64>,
}

impl Scan {
    pub(super) fn new(coder: Arc<dyn Coder>, metric: Metric) -> Self {
        Scan { coder, metric, known: Vec::new(), place: HashMap::new() }
    }
}

impl Finder for Scan {
    fn learn(&mut self, number: u32, _author: &str, text: &Arc<[u8]>) {
        let at = *self.place.entry(number).or_insert(self.known.len());
        if at == self.known.len() {
            self.known.push(Known { number, text: Vec::new(), bits: None });
        }
        let window = self.coder.window();
        if let Some(known) = self.known.get_mut(at) {
            known.text.extend_from_slice(text);
            if known.text.len() > window.saturating_mul(2) {
                known.text = newest(&known.text, window).to_vec();
            }
            known.bits = None;
        }
    }

    fn find(&mut self, text: &[u8], k: usize) -> Vec<u32> {
        let x = self.coder.bits(text);
        let mut order: Vec<(f64, u32)> = Vec::with_capacity(self.known.len());
        for known in &mut self.known {
            let y = newest(&known.text, self.coder.window());
            let y_bits = *known.bits.get_or_insert_with(|| self.coder.bits(y));
            let y_given_x = if self.metric.is_symmetric() { self.coder.bits_given(y, text) } else { y_bits };
            let m = Measured { x, y: y_bits, x_given_y: self.coder.bits_after(text, y, y_bits), y_given_x };
            order.push((self.metric.distance(&m), known.number));
        }
        best(order, k)
    }
}

/// The numbers with the smallest distances, of equal ones the newest.
pub(super) fn best(mut order: Vec<(f64, u32)>, k: usize) -> Vec<u32> {
    let nearer = |a: &(f64, u32), b: &(f64, u32)| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1));
    if order.len() > k && k > 0 {
        order.select_nth_unstable_by(k - 1, nearer);
        order.truncate(k);
    }
    order.sort_by(nearer);
    order.truncate(k);
    order.into_iter().map(|(_, number)| number).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXTS: [(u32, &str); 4] = [
        (0, "Jupiter is the largest planet, and its great red spot is a storm that has lasted for centuries"),
        (1, "a compiler turns the source of a program into code; the linker joins object files"),
        (2, "the goalkeeper saved the penalty in overtime, and the hockey season was over"),
        (3, "an engine needs oil; change the filter of the car every ten thousand miles"),
    ];

    #[test]
    fn every_method_finds_what_is_nearest() {
        let settings = Settings { metric: Metric::Gain, age: 1.0 };
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
            for labels in [true, false] {
                if method.needs_labels() && !labels {
                    continue;
                }
                let mut finder = method.finder(settings, labels);
                for (number, text) in TEXTS {
                    finder.learn(number, "a", &Arc::from(text.as_bytes()));
                }
                finder.prepare();
                for (question, expected) in [
                    ("which storm on Jupiter is the red spot of that planet?", 0),
                    ("the linker says that it can't find object files of my program", 1),
                    ("a penalty in the last minute of overtime, hockey as it should be", 2),
                    ("how many miles until the oil filter of the car needs a change?", 3),
                ] {
                    let found = finder.find(question.as_bytes(), 4);
                    assert_eq!(found.first(), Some(&expected), "{method} {labels}: {found:?}");
                }
                assert!(finder.find(b"", 4).len() <= 4);
            }
        }
        assert!("gzip".parse::<Method>().unwrap_err().to_string().contains("deflate"));
    }

    #[test]
    fn the_best_are_those_with_the_smallest_distance() {
        let order = vec![(3.0, 1), (1.0, 2), (2.0, 3), (1.0, 4)];
        assert_eq!(best(order.clone(), 3), [4, 2, 3]);
        assert_eq!(best(order.clone(), 9), [4, 2, 3, 1]);
        assert!(best(order, 0).is_empty());
    }
}
