//! Tests of the readings: each change undone, and nothing taken that is not certain.

use super::*;
use proptest::prelude::*;

const HEAD: &str = "0\r\n2026/11/21 10:00:00.5 mailto:a@x\r\n2026/11/21 09:59:59 mailto:b@x\r\n\r\n";

fn one(content: &str) -> (Lines, usize, String, usize) {
    let mut found = read(content.as_bytes(), Declared::default(), &Limits::default()).expect("it is certain");
    let (read_as, bytes) = found.remove(0);
    (read_as.lines, read_as.appended, String::from_utf8(bytes).expect("text"), found.len())
}

fn message(body: &str) -> String {
    format!("{HEAD}{}\r\n{body}", body.len())
}

#[test]
fn each_change_is_undone() {
    let two = message("one\r\ntwo\r\n");
    let unix = message("one\ntwo");
    let table = [
        (two.clone(), Lines::AsSent, 0, &two),
        (format!("{two}\r\n"), Lines::AsSent, 2, &two),
        (format!("{two}\r\n\r\n\r\n"), Lines::AsSent, 6, &two),
        (two.replace("\r\n", "\n"), Lines::AllFromLf, 0, &two),
        (format!("{}\n", two.replace("\r\n", "\n")), Lines::AllFromLf, 2, &two),
        (two.replace("\r\n", "\r\r\n"), Lines::FromCrCrLf, 0, &two),
        (format!("{}\r\n", two.replace("\r\n", "\r\r\n")), Lines::FromCrCrLf, 2, &two),
        (unix.clone(), Lines::AsSent, 0, &unix),
        (unix.replace("\r\n", "\n"), Lines::HeaderFromLf, 0, &unix),
        (format!("{}\n\n", unix.replace("\r\n", "\n")), Lines::HeaderFromLf, 2, &unix),
        (format!("{}one\r\ntwo\r\n", unix.trim_end_matches("one\ntwo")), Lines::BodyToLf, 1, &unix),
    ];
    for (content, lines, appended, wanted) in table {
        let (found, left_out, text, _) = one(&content);
        assert_eq!((found, left_out, &text), (lines, appended, wanted), "{content:?}");
    }
}

/// What a mail program makes of `message`, as it says that the part is, and how it is read.
fn changed(content: &str, declared: Declared<'_>) -> (String, String) {
    let mut found = read(content.as_bytes(), declared, &Limits::default()).expect(content);
    let (read_as, bytes) = found.remove(0);
    (read_as.to_string(), String::from_utf8(bytes).expect("text"))
}

#[test]
fn each_change_to_the_text_is_undone() {
    let plain = Declared::default();
    let flowed = Declared { flowed: Some(false), charset: None };
    let delsp = Declared { flowed: Some(true), charset: None };
    let latin = Declared { flowed: None, charset: Some("iso-8859-1") };
    let text = message("Dear all,\r\nFrom here on\r\nit goes.\r\n");
    let words = message(&format!("{}end\r\n\r\n  From me\r\n", "words ".repeat(40)));
    let mut broken = words.replace("  From", "   From");
    for times in 1..4 {
        let at = 12 * times;
        broken = broken.replacen(
            &"words ".repeat(40),
            &{
                let mut lines = String::new();
                for n in 0..40 {
                    lines.push_str("words ");
                    if n % 12 == 11 && n / 12 < 3 {
                        lines.push_str("\r\n");
                    }
                }
                lines
            },
            usize::from(at == 12),
        );
    }
    let long = message(&format!("{}\r\nFrom", "long ".repeat(250)));
    let at = long.find("long ").expect("there") + 998;
    let (front, back) = long.split_at(at);
    let folded = format!("{front}\r\n {back}");
    for (content, declared, wanted, how) in [
        (text.replace("From", ">From"), plain, &text, "lines of \">From \" made \"From \""),
        (
            text.replace("From", ">From") + "\r\n",
            plain,
            &text,
            "lines of \">From \" made \"From \"; 2 bytes of line ends after it left out",
        ),
        (text.replace("From", " From"), plain, &text, "lines of \" From \" made \"From \""),
        (
            text.replace("From", " From"),
            flowed,
            &text,
            "the space taken off lines that format=flowed had put there",
        ),
        (broken.clone(), flowed, &words, "lines joined that format=flowed had broken"),
        (
            broken.replace("words \r\n", "words  \r\n"),
            delsp,
            &words,
            "lines joined that format=flowed with DelSp had broken",
        ),
        (folded, plain, &long, "lines joined that a mail system had broken"),
        (format!("{text}-- \r\nMe\r\n"), plain, &text, "as sent; 9 bytes of a footer after it left out"),
        (
            format!("{}\n_______________________________________________\nlist", text.replace("\r\n", "\n")),
            plain,
            &text,
            "all lines ended with LF, made CR LF; 55 bytes of a footer after it left out",
        ),
    ] {
        assert_eq!(changed(&content, declared), (how.to_owned(), wanted.clone()), "{content:?}");
    }
    let umlauts = message("Gr\u{fc}\u{df}e");
    let content: Vec<u8> = umlauts.chars().map(|c| u8::try_from(u32::from(c)).expect("latin")).collect();
    let found = read(&content, latin, &Limits::default()).expect("it is certain");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, umlauts.as_bytes());
    assert_eq!(found[0].0.to_string(), "another character set, made UTF-8");
}

#[test]
fn where_two_readings_fit_only_a_signature_decides() {
    let limits = Limits::default();
    let unsigned = message("x\r\n").replace("\r\n", "\n") + "\n";
    assert!(read(unsigned.as_bytes(), Declared::default(), &limits).is_err());
    let signed = format!("1{}{}", "0".repeat(64), unsigned.strip_prefix('0').expect("unsigned"));
    let found = read(signed.as_bytes(), Declared::default(), &limits).expect("for the signature");
    let bodies: Vec<&[u8]> = found.iter().map(|(_, bytes)| &bytes[bytes.len() - 3..]).collect();
    assert_eq!(bodies, [b"x\n\n", b"x\r\n"]);
}

#[test]
fn an_appended_line_end_goes_before_a_converted_one_and_the_other_is_kept() {
    let content = format!("{}\r\n", message("x\r\n"));
    assert_eq!(one(&content), (Lines::AsSent, 2, message("x\r\n"), 1));
    let found = read(content.as_bytes(), Declared::default(), &Limits::default()).expect("certain enough");
    let (read_as, bytes) = found.get(1).expect("an alternative");
    assert_eq!((read_as.lines, bytes.as_slice()), (Lines::BodyToLf, message("x\n\n").as_bytes()));
}

#[test]
fn what_is_not_certain_is_refused_with_a_sentence() {
    let limits = Limits::default();
    for (content, start) in [
        (
            message("x\r\n").replace("\r\n", "\n") + "\n",
            "its lines were changed on the way, and its length of 3",
        ),
        (
            message("one two").replace("one", "on"),
            "it says that its body has 7 bytes, but 6 follow: something is missing",
        ),
        (
            message("one two").replace("one", "oone"),
            "it says that its body has 7 bytes, but 8 follow: something was added",
        ),
        (
            message("one two").replace(" two", "\u{a0}two"),
            "it says that its body has 7 bytes, but 8 follow and some spaces",
        ),
        // Either the mark was added, or the line end was LF.
        (message("a\r\nFrom b").replace("From", ">From"), "its lines were changed on the way, and its"),
        // Wrapped near the margin, and the sum is right by chance.
        (
            message(&format!("{}\r\n{}\r\nFrom b\r\nc", "word ".repeat(14), "w ".repeat(33)))
                .replace("From", ">From"),
            "its lines were changed on the way, and its",
        ),
        (
            message("a\r\nb\r\nFrom b   c").replace("From", ">From").replace("b   c", "b c"),
            "it says that its body has 16 bytes, but 15 follow and a line that",
        ),
        (message("ab") + "\r\n--\r\nme\r\n" + &message("cd"), "it says that its body has 2 bytes, but"),
        (
            message("ab") + "\r\nmore of it",
            "it says that its body has 2 bytes, but 14 follow: something was added",
        ),
        (message("ab").replacen("\r\n", "\n", 1), "its lines end in different ways"),
        (format!("> {}", message("ab")), "there is text before it"),
        (format!("{HEAD}two\r\nab"), "the body's length"),
        (HEAD.replace("09:59:59", "10:59:59") + "2\r\nab", "header line 2 must be earlier"),
    ] {
        let error = read(content.as_bytes(), Declared::default(), &limits).expect_err(&content).to_string();
        assert!(error.starts_with(start), "{content:?}: {error}");
        assert!(is_attempt(content.as_bytes()), "{content:?}");
    }
}

#[test]
fn a_persons_text_is_no_attempt() {
    for text in ["", "0", "0\r\nis the answer", "1 2 3", "What is CMR?\r\n2026/11/21 10:00:00 x"] {
        assert!(!is_attempt(text.as_bytes()), "{text:?}");
    }
}

proptest! {
    #[test]
    fn any_body_is_read_exactly(body: Vec<u8>) {
        let mut content = format!("{HEAD}{}\r\n", body.len()).into_bytes();
        content.extend_from_slice(&body);
        let found = read(&content, Declared::default(), &Limits::default()).expect("it is exact");
        prop_assert_eq!(&found[0], &(ReadAs::AS_SENT, content));
    }

    #[test]
    fn nothing_panics(tail: Vec<u8>, front in 0usize..80) {
        let mut content = HEAD.as_bytes()[..front.min(HEAD.len())].to_vec();
        content.extend_from_slice(&tail);
        let _ = is_attempt(&content);
        if let Ok(found) = read(&content, Declared::default(), &Limits::default()) {
            prop_assert!(found.iter().all(|(_, bytes)| parse(bytes, &Limits::default()).is_ok()));
        }
    }
}

/// A signature chooses among so many readings at most, however many fit: each is a copy of the
/// message.
#[test]
fn readings_are_few_however_many_fit() {
    // Every mark that is taken off lets one more of the line ends at the end belong to the body.
    let lines = ">From a\r\n>From b\r\n>>From c\r\n>>From d\r\n From e\r\n From f\r\n";
    let signed = HEAD.replacen('0', &format!("1{}", "a".repeat(64)), 1);
    let content = format!("{signed}{}\r\n{lines}{}", lines.len() + 20, "\r\n".repeat(40));
    let whole = header(content.as_bytes(), &Limits::default()).expect("a header").expect("a length");
    let latin = Declared { flowed: None, charset: Some("iso-8859-1") };
    let mut fits = Vec::new();
    gather(content.as_bytes(), &whole, Change::None, true, &mut fits);
    for undone in undo::all(content.as_bytes(), latin) {
        gather(&undone.content, &whole, undone.change, undone.certain, &mut fits);
    }
    assert!(fits.len() > MOST_READINGS, "{}", fits.len());
    let found = read(content.as_bytes(), latin, &Limits::default()).expect("it is signed");
    assert_eq!(found.len(), MOST_READINGS);
}
