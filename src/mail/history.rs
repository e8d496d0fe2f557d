//! What clients write around the mail that they answer or forward: the attribution line above a
//! quote, the header block or the mark above a history without quote marks, and the line that a
//! phone adds below. Told by their form and by the words of the clients' languages; wherever a
//! person could have written the same, more than one sign is asked for.

/// The most lines that an attribution is wrapped to.
const MOST_LINES: usize = 4;

/// Whether a history can begin with this line: most lines need no closer look.
pub(crate) fn may_begin(line: &str) -> bool {
    is_mark(line) || field(line).is_some() || opens_attribution(line)
}

/// Whether the history of a thread begins at the first of these lines: a mark, a block of header
/// fields, or an attribution that says who and when.
pub(crate) fn begins(lines: &[&str]) -> bool {
    let Some(first) = lines.first() else { return false };
    is_mark(first)
        || is_header_block(lines)
        || (2..=MOST_LINES).chain([1]).any(|count| {
            lines.get(..count).is_some_and(|paragraph| {
                paragraph.iter().all(|line| !line.trim().is_empty())
                    && attribution_start(paragraph) == Some(0)
                    && is_full_attribution(&paragraph.join(" "))
            })
        })
}

/// The line that clients put above a whole mail that they quote without marks.
pub(crate) fn is_mark(line: &str) -> bool {
    const WORDS: [&str; 34] = [
        "original message",
        "original appointment",
        "forwarded message",
        "forwarded by",
        "original",
        "ursprüngliche nachricht",
        "ursprüngliche mail",
        "originalnachricht",
        "weitergeleitete nachricht",
        "message d'origine",
        "message original",
        "mail original",
        "message transféré",
        "mensaje original",
        "mensaje reenviado",
        "messaggio originale",
        "messaggio inoltrato",
        "mensagem original",
        "mensagem encaminhada",
        "oprindelig meddelelse",
        "oprindelig besked",
        "opprinnelig melding",
        "ursprungligt meddelande",
        "originalmeddelande",
        "oorspronkelijk bericht",
        "doorgestuurd bericht",
        "oryginalna wiadomość",
        "wiadomość oryginalna",
        "исходное сообщение",
        "пересылаемое сообщение",
        "alkuperäinen viesti",
        "原始邮件",
        "原始郵件",
        "元のメッセージ",
    ];
    let line = line.trim();
    let inner = line.trim_matches(['-', '_', '*', ' ']);
    let ruled = line.starts_with("--") && line.ends_with("--");
    // Each line of a mail is asked about: most of them are told without a copy.
    if inner.is_empty() || inner.len() > 80 || !(ruled || inner.ends_with(':')) {
        return false;
    }
    let inner = inner.to_lowercase().replace('’', "'");
    (ruled && WORDS.contains(&inner.as_str()))
        || matches!(
            inner.as_str(),
            "begin forwarded message:"
                | "anfang der weitergeleiteten nachricht:"
                | "début du message réexpédié :"
        )
}

/// A kind of header field, as clients translate its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    From,
    Sent,
    To,
    Subject,
}

/// The names of header fields, in lower case.
const FIELDS: [(Field, &[&str]); 4] = [
    (
        Field::From,
        &[
            "from",
            "von",
            "de",
            "da",
            "van",
            "från",
            "fra",
            "od",
            "от",
            "від",
            "lähettäjä",
            "kimden",
            "feladó",
            "从",
            "发件人",
            "寄件者",
            "寄件人",
            "差出人",
            "送信者",
            "보낸 사람",
            "expéditeur",
            "remitente",
            "mittente",
        ],
    ),
    (
        Field::Sent,
        &[
            "sent",
            "date",
            "gesendet",
            "datum",
            "envoyé",
            "envoyé le",
            "message du",
            "enviado",
            "enviado el",
            "enviada em",
            "enviado em",
            "data",
            "fecha",
            "inviato",
            "verzonden",
            "skickat",
            "sendt",
            "dato",
            "wysłano",
            "wysłane",
            "odesláno",
            "отправлено",
            "дата",
            "lähetetty",
            "gönderildi",
            "elküldve",
            "发送时间",
            "发送日期",
            "日期",
            "傳送時間",
            "寄件日期",
            "送信日時",
            "日時",
            "날짜",
        ],
    ),
    (
        Field::To,
        &[
            "to",
            "cc",
            "an",
            "à",
            "a",
            "para",
            "aan",
            "till",
            "til",
            "do",
            "komu",
            "кому",
            "vastaanottaja",
            "kime",
            "címzett",
            "copie à",
            "kopie",
            "收件人",
            "收件者",
            "抄送",
            "宛先",
            "받는 사람",
            "destinataire",
        ],
    ),
    (
        Field::Subject,
        &[
            "subject",
            "betreff",
            "objet",
            "asunto",
            "oggetto",
            "assunto",
            "onderwerp",
            "ämne",
            "emne",
            "temat",
            "předmět",
            "тема",
            "aihe",
            "konu",
            "tárgy",
            "sujet",
            "主题",
            "主題",
            "主旨",
            "件名",
            "제목",
        ],
    ),
];

/// `From: x`, `*Von:* x`, `  De : x`, `发件人：x`.
fn field(line: &str) -> Option<Field> {
    // Nearly every line, and cheap to see.
    if line.is_ascii() && !line.as_bytes().contains(&b':') {
        return None;
    }
    let line = line.trim_start().trim_start_matches('*');
    let (name, _) = line.split_once([':', '：']).filter(|(name, _)| name.len() <= 60)?;
    let name = name.trim().trim_end_matches('*').trim_end().to_lowercase();
    FIELDS.iter().find(|(_, names)| names.contains(&name.as_str())).map(|(kind, _)| *kind)
}

/// Outlook's way to quote: the fields of the mail's header, then its text without marks. It has a
/// sender or a date in its first line and two more kinds of field close below.
fn is_header_block(lines: &[&str]) -> bool {
    let Some(first @ (Field::From | Field::Sent)) = lines.first().and_then(|line| field(line)) else {
        return false;
    };
    let mut kinds = vec![first];
    // Long lists of recipients are wrapped; other lines are not in between.
    for line in lines.iter().skip(1).take(8).filter(|line| !line.trim().is_empty()) {
        match field(line) {
            Some(kind) if !kinds.contains(&kind) => kinds.push(kind),
            _ => {}
        }
    }
    kinds.len() >= 3 && kinds.contains(&Field::From)
}

/// At which of these lines an attribution starts that ends with the last of them.
pub(crate) fn attribution_start(paragraph: &[&str]) -> Option<usize> {
    let last = paragraph.last()?.trim_end().trim_end_matches(['*', '_', '"']);
    if paragraph.iter().map(|line| line.len()).sum::<usize>() > 400 || !last.ends_with([':', '：']) {
        return None;
    }
    // The shortest run of lines at the end that opens like one and says who or when; else the
    // shortest that says who.
    let run = |start: usize| paragraph.iter().skip(start).copied().collect::<Vec<_>>().join(" ");
    let opening = (0..paragraph.len()).rev().find(|start| {
        let text = run(*start);
        opens_attribution(&text) && (says_who(&text) || says_when(&text))
    });
    opening.or_else(|| {
        (0..paragraph.len()).rev().find(|start| {
            let text = run(*start);
            says_who(&text) && (says_when(&text) || text.len() <= 80)
        })
    })
}

/// A line that holds a full attribution between two runs of blanks, in three: what stands before
/// it, the attribution, what stands after it.
pub(crate) fn inline_attribution(line: &str) -> Option<[&str; 3]> {
    let (head, after) = line.split_once(" wrote:  ")?;
    let start = head.rfind("  On ")?;
    let (before, _) = line.split_at_checked(start)?;
    let (attribution, _) = line.get(start..)?.split_at_checked(head.len() - start + " wrote:".len())?;
    is_full_attribution(attribution).then_some([before.trim_end(), attribution.trim(), after.trim_start()])
}

/// An attribution that no sentence of a person looks like: it says who wrote, and a year or an
/// address.
fn is_full_attribution(text: &str) -> bool {
    opens_attribution(text)
        && (has_year(text) || has_address(text))
        && (says_who(text) || is_dated_address(text))
}

/// `…, 2 Nov 2026, 10:00, Ann <ann@example.org>:`, in whatever language and without a verb.
fn is_dated_address(text: &str) -> bool {
    if !text.trim_end().ends_with(">:") {
        return false;
    }
    let time = text.as_bytes().windows(3).any(|at| matches!(at, [b'0'..=b'9', b':', b'0'..=b'9']));
    time && text.contains('<') && has_year(text) && has_address(text)
}

fn has_year(text: &str) -> bool {
    let year = |digits: &str| digits.len() == 4 && (digits.starts_with("19") || digits.starts_with("20"));
    text.split(|c: char| !c.is_ascii_digit()).any(year)
}

fn has_address(text: &str) -> bool {
    text.split(['<', ' ', '[', '"', '(']).any(|word| word.contains('@') && !word.starts_with('@'))
}

fn says_when(text: &str) -> bool {
    text.bytes().any(|byte| byte.is_ascii_digit()) || text.contains('@')
}

/// How attributions begin in the languages of common clients.
fn opens_attribution(text: &str) -> bool {
    const OPENINGS: [&str; 36] = [
        "On ",
        "Am ",
        "Le ",
        "El ",
        "Il ",
        "Op ",
        "Em ",
        "Den ",
        "På ",
        "W dniu ",
        "Dnia ",
        "Dne ",
        "Il giorno ",
        "Quoting ",
        "* ",
        "В ",
        "Vào ",
        "在 ",
        "于 ",
        "Pe ",
        "Στις ",
        "A ",
        "ma ",
        "ti ",
        "ke ",
        "to ",
        "pe ",
        "man. ",
        "tir. ",
        "ons. ",
        "tor. ",
        "tors. ",
        "fre. ",
        "lør. ",
        "søn. ",
        "Mon, ",
    ];
    let text = text.trim_start();
    if text.starts_with("* ") || is_dated_address(text) {
        return true;
    }
    let text = text.trim_start_matches(['-', '*']).trim_start();
    let Some(first) = text.as_bytes().first() else { return false };
    OPENINGS.iter().any(|opening| opening.as_bytes().first() == Some(first) && text.starts_with(opening))
        || first.is_ascii_digit()
        || *first == b'"'
}

/// Whether it says that somebody wrote.
fn says_who(text: &str) -> bool {
    const VERBS: [&str; 37] = [
        "wrote",
        "writes",
        "schrieb",
        "geschrieben",
        "écrit",
        "escribió",
        "escribio",
        "ha scritto",
        "schreef",
        "geschreven",
        "skrev",
        "escreveu",
        "napsal",
        "napisał",
        "pisze",
        "kirjoitti",
        "написал",
        "написав",
        "пишет",
        "пише",
        "писал",
        "írta",
        "a scris",
        "yazdı",
        "έγραψε",
        "đã viết",
        "写道",
        "寫道",
        "のメール",
        "書きました",
        "のメッセージ",
        "님이 작성",
        "작성:",
        "said",
        "Quoting",
        "quoth",
        "replied",
    ];
    VERBS.iter().any(|verb| text.contains(verb))
}

/// The line that phones and web mailers add below: `Sent from my iPhone`.
pub(crate) fn is_device_signature(line: &str) -> bool {
    const STARTS: [&str; 31] = [
        "Sent from my ",
        "Sent from a ",
        "Sent from Mail for Windows",
        "Sent from Mail",
        "Sent from Outlook",
        "Sent from Yahoo",
        "Sent from Samsung",
        "Sent from mobile",
        "Sent from iPhone",
        "Sent via ",
        "Sent with ",
        "Sent by ",
        "Get Outlook for ",
        "Von meinem ",
        "Gesendet von ",
        "Gesendet mit ",
        "Diese Nachricht wurde von meinem ",
        "Envoyé de mon ",
        "Envoyé depuis ",
        "Envoyé à partir de ",
        "Enviado desde ",
        "Enviado do meu ",
        "Enviado a partir do ",
        "Inviato da",
        "Verstuurd vanaf ",
        "Verzonden vanaf ",
        "Wysłane z ",
        "Skickat från ",
        "Sendt fra ",
        "Отправлено с ",
        "发自我的",
    ];
    const ENDS: [&str; 3] = ["から送信", "발신", "傳送"];
    // Some have a link in them, one is a whole sentence.
    let line = line.split('<').next().unwrap_or_default().trim().trim_matches(['*', '_']);
    let line = line.strip_suffix('.').filter(|line| line.contains("Proton Mail")).unwrap_or(line);
    // A person's sentence goes on, or has a comma in it.
    let short = line.chars().count() <= 60
        && !line.contains([',', ';', ':'])
        && line.split_whitespace().count() <= 10;
    if !short {
        return false;
    }
    let known = STARTS.iter().any(|start| line.starts_with(start));
    let known = known || ENDS.iter().any(|end| line.ends_with(end) && line.chars().count() <= 20);
    known && !line.ends_with(['.', '?', '!'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(text: &str) -> bool {
        begins(&text.lines().collect::<Vec<_>>())
    }

    #[test]
    fn a_history_begins_with_a_mark_a_header_or_a_full_attribution() {
        for text in [
            "-----Original Message-----",
            "----- Mail original -----",
            "-------- Weitergeleitete Nachricht --------",
            "------------------ 原始邮件 ------------------",
            "Begin forwarded message:",
            "From: Ann\nSent: Monday, 2 November 2026 10:00\nTo: Bob\nSubject: x",
            "*From:* Ann\n*Sent:* Monday\n*To:* Bob\n*Subject:* x",
            "Von: Ann\nGesendet: Montag\nAn: Bob\nBetreff: x",
            "  De : Ann\n À : Bob\n Envoyé le : lundi\n Objet : x",
            "发件人: Ann\n发送时间: 2026年\n收件人: Bob\n主题: x",
            "差出人: Ann\n送信日時: 2026年\n宛先: Bob\n件名: x",
            "Date: Mon, 2 Nov 2026\nFrom: Ann\nTo: Bob",
            "On Mon, Nov 2, 2026 at 10:00 AM Ann <ann@example.org> wrote:",
            "On Mon, Nov 2, 2026 at 10:00 AM Ann Example Longname <\nann@example.org> wrote:",
            "On Nov 21, 2014,\nat 10:18,\nJohn <john@example.org> wrote:",
            "Am 02.11.2026 um 10:00 schrieb Ann Example:",
            "Le lun. 2 nov. 2026 à 10:00, Ann <ann@example.org> a écrit :",
            "El lun, 2 nov 2026 a las 10:00, Ann (<ann@example.org>) escribió:",
            "Il giorno lun 2 nov 2026 alle ore 10:00 Ann <ann@example.org> ha scritto:",
            "Op ma 2 nov. 2026 om 10:00 schreef Ann <ann@example.org>:",
            "Em seg., 2 de nov. de 2026 às 10:00, Ann <ann@example.org> escreveu:",
            "W dniu 2.11.2026 o 10:00, Ann pisze:",
            "Den mån 2 nov. 2026 kl 10:00 skrev Ann <ann@example.org>:",
            "ma 2. marrask. 2026 klo 10.00 Ann (ann@example.org) kirjoitti:",
            "пн, 2 нояб. 2026",
            "пн, 2 нояб. 2026 г. в 10:00, Ann <ann@example.org>:",
            "2 нояб. 2026 г., в 10:00, Ann <ann@example.org> написал(а):",
            "2026年11月2日(月) 10:00 Ann <ann@example.org>:",
            "在 2026年11月2日，10:00，Ann <ann@example.org> 写道：",
            "2026-11-02 10:00 GMT+01:00 Ann <ann@example.org>:",
        ] {
            // A date alone is none.
            assert_eq!(starts(text), !text.ends_with("2026"), "{text}");
        }
        for text in [
            "On Thursday:",
            "On your remote host you can run:",
            "In 2026 Ann wrote:",
            "From: there it goes on",
            "To: do\nSubject: unclear\nDate: none",
            "See the original message",
            "------",
            "This was written in 2026:",
        ] {
            assert!(!starts(text), "{text}");
        }
    }

    #[test]
    fn a_phones_line_is_no_sentence() {
        for line in [
            "Sent from my iPhone",
            "Sent from my Verizon Wireless BlackBerry",
            "Von meinem iPhone gesendet",
            "Envoyé de mon iPhone",
            "iPhoneから送信",
            "发自我的iPhone",
            "Get Outlook for iOS<https://aka.ms/o0ukef>",
            "Sent with Proton Mail secure email.",
            "Sent from Mail for Windows 10",
        ] {
            assert!(is_device_signature(line), "{line}");
        }
        for line in [
            "Sent from my desk, is much easier then my mobile phone.",
            "Sent by mistake.",
            "I sent it from my iPhone",
            "Von meinem Haus sieht man den Mars; er steht tief",
        ] {
            assert!(!is_device_signature(line), "{line}");
        }
    }
}
