//! The same question to the reference implementation: its compressor worker, asked over its own
//! protocol for the distances of one message to some cached ones.

use crate::{SETTINGS, limits};
use cmr_core::compressor_ipc::{CompressorRequest, CompressorResponse, read_frame, write_frame};
use cmr_mail::evaluate::{Doc, address, cpu, deflate_scan, entry};
use cmr_mail::pool::{Audience, Pool, Query};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Bytes of an answer: a number for each candidate.
const FRAME: usize = 8 << 20;

pub(crate) fn run(docs: &[Doc], questions: &[Doc]) {
    let Some(program) = std::env::var_os("CMR_MAIL_BENCH_REFERENCE") else {
        println!("The reference is not measured, because CMR_MAIL_BENCH_REFERENCE is not set.\n");
        return;
    };
    let mut worker = Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (worker.stdin.take().unwrap(), worker.stdout.take().unwrap());
    println!("| cached messages | reference, a message | cmr-mail | ratio | deflate scan |");
    println!("|---|---|---|---|---|");
    for size in [10, 30, 100] {
        let cached = &docs[docs.len() - size..];
        let mut pool = Pool::new(limits());
        for (seq, doc) in (0..).zip(cached) {
            let author = address(&doc.author).unwrap();
            pool.insert(&entry(seq, &author, &author), &doc.text);
        }
        let lent = |seq: i64| Some(cached.get(usize::try_from(seq).ok()?)?.text.to_vec());
        let (mut theirs, mut ours) = (0.0, 0.0);
        let asked = &questions[..3];
        for question in asked {
            let request = CompressorRequest::BatchCompressionDistance {
                target: question.text.to_vec(),
                candidates: cached.iter().map(|doc| doc.text.to_vec()).collect(),
            };
            // Another process: its time can only be seen on the wall.
            let begin = Instant::now();
            write_frame(&mut input, &request).unwrap();
            match read_frame(&mut output, FRAME).unwrap() {
                CompressorResponse::BatchCompressionDistance { values } => assert_eq!(values.len(), size),
                other => panic!("{other:?}"),
            }
            theirs += begin.elapsed().as_secs_f64();
            let query = Query { age: SETTINGS.age, ..Query::new(&question.text, Audience::Public) };
            let begin = cpu();
            std::hint::black_box(pool.search(&query, 32, &lent));
            ours += (cpu() - begin).as_secs_f64();
        }
        let each = asked.len() as f64;
        let texts: Vec<&[u8]> = cached.iter().map(|doc| doc.text.as_ref()).collect();
        let scan = deflate_scan(&texts, &asked.iter().map(|doc| doc.text.as_ref()).collect::<Vec<_>>()).0;
        println!(
            "| {size} | {:.2} s | {:.0} µs | {:.0} | {:.1} ms |",
            theirs / each,
            ours / each * 1e6,
            theirs / ours,
            scan / 1000.0
        );
    }
    drop(input);
    worker.wait().unwrap();
    println!();
}
