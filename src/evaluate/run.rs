//! The questions, asked.

use super::attract::Attractors;
use super::report::{Report, Row, Times};
use super::{Chance, Corpus, Method, Settings, cpu};
use crate::distance::Metric;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What is asked, and of whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// The methods and their metrics, in the order of the rows; the first is the configured one
    /// exactly if it is [`Method::Default`] with the configured metric.
    pub methods: Vec<(Method, Metric)>,
    /// What the configuration says.
    pub settings: Settings,
    /// At most so many questions, chosen by the seed.
    pub sample: Option<usize>,
    /// The luck.
    pub seed: u64,
    /// CPU time that the questions of one method may take; the rest is not asked.
    pub time: Duration,
    /// Messages made to attract, in percent of what is learned.
    pub attract: Option<f64>,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Learning the mails.
    Learn(Method),
    /// Asking.
    Ask(Method),
    /// Measuring the deflate scan.
    Scan,
}

/// Is told how far it is: task, steps done, steps in all.
pub type Progress<'a> = &'a mut dyn FnMut(Task, usize, usize);

/// So many answers are looked at.
const ANSWERS: usize = 32;

/// Asks every method.
#[must_use]
pub fn evaluate(corpus: &Corpus, options: &Options, progress: Progress<'_>) -> Report {
    let course = Course::new(corpus, options);
    progress(Task::Scan, 0, 1);
    let (scan, pairs) = course.deflate_scan();
    let rows = options
        .methods
        .iter()
        .filter(|(method, _)| !method.needs_labels() || course.labels)
        .map(|(method, metric)| {
            let mut row = course.ask(*method, *metric, options, progress);
            row.ratio_to_deflate_scan = if row.micros_mean > 0.0 { scan / row.micros_mean } else { 0.0 };
            row
        })
        .collect();
    let (labels, skipped, docs): (usize, usize, Vec<bool>) = match corpus {
        Corpus::Labels(all) => {
            let docs = all.train.iter().chain(&all.test).map(|(_, doc)| doc.readable).collect();
            (all.names.len(), all.skipped.len(), docs)
        }
        Corpus::Threads(all) => {
            let pool: HashSet<u32> = all.thread.iter().take(all.pool).copied().collect();
            (pool.len(), all.skipped.len(), all.mails.iter().map(|doc| doc.readable).collect())
        }
    };
    Report {
        train: course.before,
        test: course.questions.len(),
        labels,
        skipped,
        as_they_lie: docs.iter().filter(|readable| !**readable).count(),
        deflate_scan_micros: scan,
        deflate_scan_pairs: pairs,
        rows,
        thresholds: None,
    }
}

/// A text to learn, under a number.
#[derive(Clone)]
struct Lesson {
    number: u32,
    author: String,
    text: Arc<[u8]>,
}

struct Question<'a> {
    text: &'a Arc<[u8]>,
    /// The label, or the thread.
    right: u32,
    /// Asked when so many lessons were learned.
    after: usize,
}

/// What is learned and asked, the same for labels and threads.
struct Course<'a> {
    labels: bool,
    lessons: Vec<Lesson>,
    /// So many lessons come before the first question.
    before: usize,
    questions: Vec<Question<'a>>,
    /// Of threads: the thread of each number.
    thread: &'a [u32],
    /// Numbers from here on were made to attract.
    attractors_from: u32,
}

impl<'a> Course<'a> {
    fn new(corpus: &'a Corpus, options: &Options) -> Self {
        let mut course = match corpus {
            Corpus::Labels(all) => Course {
                labels: true,
                lessons: all.train.iter().map(|(label, doc)| Lesson::new(*label, doc)).collect(),
                before: all.train.len(),
                questions: all
                    .test
                    .iter()
                    .map(|(label, doc)| Question { text: &doc.text, right: *label, after: all.train.len() })
                    .collect(),
                thread: &[],
                attractors_from: u32::try_from(all.names.len()).unwrap_or(u32::MAX),
            },
            Corpus::Threads(all) => Course {
                labels: false,
                lessons: all.mails.iter().zip(0..).map(|(doc, at)| Lesson::new(at, doc)).collect(),
                before: all.pool,
                questions: all
                    .questions
                    .iter()
                    .filter_map(|at| {
                        let right = *all.thread.get(*at)?;
                        Some(Question { text: &all.mails.get(*at)?.text, right, after: *at })
                    })
                    .collect(),
                thread: &all.thread,
                attractors_from: u32::try_from(all.mails.len()).unwrap_or(u32::MAX),
            },
        };
        if let Some(percent) = options.attract {
            course.mix_in(percent, options.seed);
        }
        course
    }

    /// Mixes in messages made to attract, evenly spread among what is there before the first
    /// question. To labels they come as one peer more.
    fn mix_in(&mut self, percent: f64, seed: u64) {
        let texts: Vec<&[u8]> = self.lessons.iter().take(self.before).map(|l| l.text.as_ref()).collect();
        let made: Vec<Arc<[u8]>> = Attractors::new(&texts, seed).share(percent);
        let every = self.before / made.len().max(1) + 1;
        let mut mixed = Vec::with_capacity(self.lessons.len() + made.len());
        let mut made = made.into_iter().zip(self.attractors_from..);
        let mut added = 0;
        for (at, lesson) in std::mem::take(&mut self.lessons).into_iter().enumerate() {
            mixed.push(lesson);
            if at < self.before
                && at % every == every / 2
                && let Some((text, number)) = made.next()
            {
                let number = if self.labels { self.attractors_from } else { number };
                mixed.push(Lesson { number, author: "attractor@example.org".to_owned(), text });
                added += 1;
            }
        }
        self.lessons = mixed;
        self.before += added;
        for question in &mut self.questions {
            question.after += added;
        }
    }

    fn is_right(&self, number: u32, right: u32) -> bool {
        if self.labels { number == right } else { self.thread.get(number as usize) == Some(&right) }
    }

    /// The questions that are asked, in the order of asking: by luck, sorted by when.
    fn chosen(&self, options: &Options) -> Vec<&Question<'a>> {
        let mut order: Vec<usize> = (0..self.questions.len()).collect();
        Chance::new(options.seed).shuffle(&mut order);
        order.truncate(options.sample.unwrap_or(usize::MAX));
        if !self.labels {
            order.sort_unstable();
        }
        order.into_iter().filter_map(|at| self.questions.get(at)).collect()
    }

    fn ask(&self, method: Method, metric: Metric, options: &Options, progress: Progress<'_>) -> Row {
        let mut finder = method.finder(Settings { metric, ..options.settings }, self.labels);
        let mut learning = Duration::ZERO;
        let mut learned = 0_usize;
        let mut bytes = 0_usize;
        let mut learn_to = |finder: &mut dyn super::Finder, to: usize, progress: Progress<'_>| {
            let begin = cpu();
            for lesson in self.lessons.iter().take(to).skip(learned) {
                finder.learn(lesson.number, &lesson.author, &lesson.text);
                bytes += lesson.text.len();
                learned += 1;
                if learned.is_multiple_of(256) {
                    progress(Task::Learn(method), learned, self.before);
                }
            }
            learning += cpu().saturating_sub(begin);
        };
        learn_to(finder.as_mut(), self.before, progress);
        let begin = cpu();
        finder.prepare();
        let training = cpu().saturating_sub(begin);
        let held = finder.bytes();
        let chosen = self.chosen(options);
        let mut row = Row {
            method: method.name().to_owned(),
            metric: method.has_metric().then(|| metric.name().to_owned()),
            default: method == Method::Default && metric == options.settings.metric,
            bytes_per_message: held.map(|held| held as f64 / self.before.max(1) as f64),
            ..Row::default()
        };
        let mut times = Times::default();
        let mut spent = Duration::ZERO;
        let mut hits = [0_usize; 3];
        let (mut attracted, mut attracted_top10, mut top10) = (0_usize, 0_usize, 0_usize);
        // What a slow method is asked is spread evenly over what the others are asked.
        let mut step = 1;
        let mut at = 0;
        while let Some(question) = chosen.get(at) {
            learn_to(finder.as_mut(), question.after, progress);
            let begin = cpu();
            let found = finder.find(question.text, ANSWERS);
            let time = cpu().saturating_sub(begin);
            times.push(time);
            spent += time;
            row.questions += 1;
            let place = found.iter().position(|number| self.is_right(*number, question.right));
            for (hit, k) in hits.iter_mut().zip([1, 10, ANSWERS]) {
                *hit += usize::from(place.is_some_and(|place| place < k));
            }
            let is_made = |number: &&u32| **number >= self.attractors_from;
            attracted += found.iter().take(1).filter(is_made).count();
            attracted_top10 += found.iter().take(10).filter(is_made).count();
            top10 += found.len().min(10);
            if row.questions == 5 {
                let mean = spent.as_secs_f64() / 5.0;
                let wanted = mean * chosen.len() as f64 / options.time.as_secs_f64().max(1e-9);
                step = whole(wanted).clamp(1, (chosen.len() / 10).max(1));
            }
            if spent > options.time && row.questions >= 5 {
                break;
            }
            at += step;
            progress(Task::Ask(method), at, chosen.len());
        }
        let share = |hits: usize, of: usize| hits as f64 / of.max(1) as f64;
        row.sampled = row.questions < self.questions.len();
        let [top1, hit10, hit32] = hits;
        row.accuracy = share(top1, row.questions);
        row.top10 = share(hit10, row.questions);
        row.top32 = share(hit32, row.questions);
        if options.attract.is_some() {
            row.attracted = Some(share(attracted, row.questions));
            row.attracted_top10 = Some(share(attracted_top10, top10));
        }
        row.micros_mean = times.mean();
        row.micros_p50 = times.quantile(0.5);
        row.micros_p99 = times.quantile(0.99);
        row.insert_micros_per_kb = (learning + training).as_secs_f64() * 1e6 / (bytes.max(1) as f64 / 1024.0);
        row
    }

    /// See [`deflate_scan`]; over what is there before the first question. A label is its newest
    /// 32 KiB.
    fn deflate_scan(&self) -> (f64, usize) {
        let mut known: Vec<Vec<u8>> = Vec::new();
        if self.labels {
            for lesson in &self.lessons {
                let at = lesson.number as usize;
                known.resize_with(known.len().max(at + 1), Vec::new);
                if let Some(text) = known.get_mut(at) {
                    text.extend_from_slice(&lesson.text);
                    let surplus = text.len().saturating_sub(32 * 1024);
                    text.drain(..surplus);
                }
            }
        }
        let texts: Vec<&[u8]> = if self.labels {
            known.iter().map(Vec::as_slice).collect()
        } else {
            self.lessons.iter().take(self.before).map(|lesson| lesson.text.as_ref()).collect()
        };
        let questions: Vec<&[u8]> = self.questions.iter().map(|question| question.text.as_ref()).collect();
        deflate_scan(&texts, &questions)
    }
}

impl Lesson {
    fn new(number: u32, doc: &super::Doc) -> Self {
        Lesson { number, author: doc.author.clone(), text: Arc::clone(&doc.text) }
    }
}

fn whole(number: f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped before")]
    let whole = number.clamp(0.0, 1e9) as usize;
    whole
}

/// CPU time of comparing one question with all these texts by deflate 6, one after the other, in
/// microseconds, and from how many pairs it is extrapolated: up to 20 questions with up to 200
/// texts each, evenly spread. Compared is |deflate(YX)|; |deflate(Y)| is taken as known.
#[must_use]
pub fn deflate_scan(texts: &[&[u8]], questions: &[&[u8]]) -> (f64, usize) {
    let spread = |all: usize, most: usize| (0..all.min(most)).map(move |n| n * all / all.min(most).max(1));
    let mut deflate = Compress::new(Compression::new(6), false);
    let mut out = vec![0_u8; 64 * 1024];
    let mut joined = Vec::new();
    let mut pairs = 0_usize;
    let begin = cpu();
    for question in spread(questions.len(), 20).filter_map(|at| questions.get(at)) {
        for text in spread(texts.len(), 200).filter_map(|at| texts.get(at)) {
            joined.clear();
            joined.extend_from_slice(text);
            joined.extend_from_slice(question);
            std::hint::black_box(deflated(&mut deflate, &joined, &mut out));
            pairs += 1;
        }
    }
    let spent = cpu().saturating_sub(begin).as_secs_f64() * 1e6;
    (spent / pairs.max(1) as f64 * texts.len() as f64, pairs)
}

/// The length of `text` deflated.
fn deflated(deflate: &mut Compress, text: &[u8], out: &mut [u8]) -> u64 {
    deflate.reset();
    loop {
        let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = text.get(read..).unwrap_or_default();
        match deflate.compress(rest, out, FlushCompress::Finish) {
            Ok(Status::Ok | Status::BufError) => {}
            Ok(Status::StreamEnd) | Err(_) => return deflate.total_out(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::DeflateEncoder;
    use std::io::Read;

    #[test]
    fn the_length_is_that_of_the_stream() {
        let mut deflate = Compress::new(Compression::new(6), false);
        for text in [Vec::new(), b"a".repeat(100_000), (0..50_000_u32).flat_map(u32::to_le_bytes).collect()] {
            let mut stream = Vec::new();
            DeflateEncoder::new(text.as_slice(), Compression::new(6)).read_to_end(&mut stream).unwrap();
            assert_eq!(deflated(&mut deflate, &text, &mut [0; 100]), stream.len() as u64);
        }
        assert_eq!(deflate_scan(&[], &[]), (0.0, 0));
        let (micros, pairs) = deflate_scan(&[b"a", b"b", b"c"], &[b"x", b"y"]);
        assert!(pairs == 6 && micros > 0.0);
    }
}
