//! What of a text is looked at: no addresses, and characters that count as one made one.

use std::collections::HashMap;

use crate::pattern::{Flags, Pattern};

/// Most characters of a text that are looked at.
const LIMIT: usize = 10_000;

/// Letters that Vietnamese marks its tones on, and below each tone's combining mark the letters with it.
const PLAIN: &str = "AEIOUYaeiouyÂÊÔâêôĂăƠơƯư";
const TONES: [(char, &str); 5] = [
    ('\u{300}', "ÀÈÌÒÙỲàèìòùỳẦỀỒầềồẰằỜờỪừ"),
    ('\u{301}', "ÁÉÍÓÚÝáéíóúýẤẾỐấếốẮắỚớỨứ"),
    ('\u{303}', "ÃẼĨÕŨỸãẽĩõũỹẪỄỖẫễỗẴẵỠỡỮữ"),
    ('\u{309}', "ẢẺỈỎỦỶảẻỉỏủỷẨỂỔẩểổẲẳỞởỬử"),
    ('\u{323}', "ẠẸỊỌỤỴạẹịọụỵẬỆỘậệộẶặỢợỰự"),
];

/// Addresses, which say nothing about the language.
pub struct Addresses {
    web: Pattern,
    mail: Pattern,
}

impl Addresses {
    pub fn new() -> Result<Self, String> {
        let web = Pattern::compile(r"https?://[-_.?&~;+=/#0-9A-Za-z]{1,2076}", Flags::default())?;
        let mail =
            Pattern::compile(r"[-_.0-9A-Za-z]{1,64}@[-_0-9A-Za-z]{1,255}[-_.0-9A-Za-z]{1,255}", Flags::default())?;
        Ok(Self { web, mail })
    }

    /// `text` with a space for each address.
    fn removed(&self, text: &str) -> String {
        let text = self.web.split(text).join(" ");
        if text.contains('@') { self.mail.split(&text).join(" ") } else { text }
    }
}

/// The characters of `text` that count, in order.
pub fn chars(text: &str, addresses: &Addresses) -> Vec<char> {
    let mut chars = composed(&addresses.removed(text));
    chars.truncate(LIMIT);
    chars.dedup_by(|next, last| *next == ' ' && *last == ' ');
    without_foreign_latin(chars)
}

/// Each Vietnamese letter and the combining mark after it as one character.
fn composed(text: &str) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len());
    // A letter that has got its mark takes no second one.
    let mut bare = None;
    for c in text.chars() {
        let toned = TONES.iter().find(|(mark, _)| *mark == c).and_then(|(_, letters)| letters.chars().nth(bare?));
        match toned {
            Some(toned) => {
                out.pop();
                out.push(toned);
                bare = None;
            }
            None => {
                out.push(c);
                bare = PLAIN.chars().position(|letter| letter == c);
            }
        }
    }
    out
}

/// Drops Latin letters where the others are more than twice as many: names and terms in a text of another script.
fn without_foreign_latin(mut chars: Vec<char>) -> Vec<char> {
    let other = |c: &char| *c >= '\u{300}' && !('\u{1e00}'..='\u{1eff}').contains(c);
    let (latin, others) = (chars.iter().filter(|c| is_latin(**c)).count(), chars.iter().filter(|c| other(c)).count());
    if latin * 2 < others {
        chars.retain(|c| !is_latin(*c));
    }
    chars
}

/// From A to z, with the six signs between the cases, as in langdetect.
fn is_latin(c: char) -> bool {
    ('A'..='z').contains(&c)
}

/// The character that `c` counts as: a space for what is no letter, and one for all of a script whose letters say nothing more.
pub fn normal(c: char, kanji: &HashMap<char, char>) -> char {
    match c {
        'A'..='Z' | 'a'..='z' => c,
        '\0'..='\u{7f}' | '\u{a0}' | '«' | '°' | '»' | '\u{2000}'..='\u{206f}' => ' ',
        'ș' => 'ş',
        'ț' => 'ţ',
        '\u{6cc}' => '\u{64a}',
        '\u{1ea0}'..='\u{1eff}' => '\u{1ec3}',
        '\u{3040}'..='\u{309f}' => '\u{3042}',
        '\u{30a0}'..='\u{30ff}' => '\u{30a2}',
        '\u{3100}'..='\u{312f}' | '\u{31a0}'..='\u{31bf}' => '\u{3105}',
        '\u{4e00}'..='\u{9fff}' => kanji.get(&c).copied().unwrap_or(c),
        '\u{ac00}'..='\u{d7af}' => '\u{ac00}',
        _ => c,
    }
}
