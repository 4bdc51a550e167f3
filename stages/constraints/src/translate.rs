//! Python regular expression syntax, rewritten for the engine with Python's meaning.
//!
//! Python's `\w` holds letters and numbers but no combining marks, its `\s` holds U+001C to U+001F,
//! its `$` matches before a final line break, its case-insensitive i also matches the dotted and the
//! dotless i, and inside a class `[`, `&&`, `--` and `~~` are ordinary characters. One difference is
//! left: where case is ignored, `\w` inside a class takes the mark U+0345 for a letter.

use std::iter::Peekable;
use std::str::Chars;

use crate::pattern::Flags;

/// One word character. Case folding is off: it would add marks to the letters.
pub const WORD: &str = r"(?-i:[\p{L}\p{N}_])";
/// One character that is no word character.
pub const NOT_WORD: &str = r"(?-i:[^\p{L}\p{N}_])";
const WORD_SET: &str = r"\p{L}\p{N}_";
const SPACE_SET: &str = r"\s\x1c-\x1f";
/// The letters that Python takes for one letter when it ignores case.
const LETTERS_I: [char; 4] = ['i', 'I', 'ı', 'İ'];

/// Rewrites `source`; the error says what cannot be used.
pub fn from_python(source: &str, flags: Flags) -> Result<String, String> {
    let out = if flags.ignore_case { "(?i)".to_owned() } else { String::new() };
    let mut translation = Translation { rest: source.chars().peekable(), out, flags, repeatable: false };
    while let Some(c) = translation.rest.next() {
        translation.token(c)?;
    }
    Ok(translation.out)
}

/// `text` taken literally and without regard to case.
pub fn literal(text: &str) -> String {
    text.chars().map(|c| one(c, true)).collect()
}

/// One character as an atom.
fn one(c: char, ignore_case: bool) -> String {
    match c {
        _ if ignore_case && LETTERS_I.contains(&c) => format!("[{}]", String::from_iter(LETTERS_I)),
        _ => escaped(c),
    }
}

fn escaped(c: char) -> String {
    if c.is_alphanumeric() { c.to_string() } else { format!("\\x{{{:x}}}", u32::from(c)) }
}

struct Translation<'s> {
    rest: Peekable<Chars<'s>>,
    out: String,
    flags: Flags,
    /// Whether a quantifier may follow.
    repeatable: bool,
}

impl Translation<'_> {
    fn token(&mut self, c: char) -> Result<(), String> {
        match c {
            '\\' => self.escape(),
            '[' => self.class(),
            '(' => self.group(),
            '*' | '+' | '?' => self.quantifier(&c.to_string()),
            '{' => self.brace(),
            '|' => self.emit("|", false),
            ')' | '.' => self.emit(c.encode_utf8(&mut [0; 4]), true),
            '^' if self.flags.multi_line => self.emit("(?m:^)", false),
            '^' => self.emit(r"\A", false),
            '$' if self.flags.multi_line => self.emit("(?m:$)", false),
            '$' => self.emit(r"(?=\n?\z)", false),
            _ => self.emit(&one(c, self.flags.ignore_case), true),
        }
    }

    fn emit(&mut self, piece: &str, repeatable: bool) -> Result<(), String> {
        self.out.push_str(piece);
        self.repeatable = repeatable;
        Ok(())
    }

    fn quantifier(&mut self, quantifier: &str) -> Result<(), String> {
        if !self.repeatable {
            return Err(format!("nothing to repeat before `{quantifier}`"));
        }
        self.emit(quantifier, false)?;
        match self.rest.next_if(|c| "?+".contains(*c)) {
            Some(mode) => self.emit(mode.encode_utf8(&mut [0; 4]), false),
            None => Ok(()),
        }
    }

    /// `{m}`, `{m,}`, `{,n}` or `{m,n}`; any other brace is an ordinary character.
    fn brace(&mut self) -> Result<(), String> {
        let body: String = self.rest.clone().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        let closed = self.rest.clone().nth(body.len()) == Some('}');
        if !closed || body.is_empty() || body.matches(',').count() > 1 {
            return self.emit(&escaped('{'), true);
        }
        self.rest.nth(body.len());
        match body.strip_prefix(',') {
            Some(most) => self.quantifier(&format!("{{0,{most}}}")),
            None => self.quantifier(&format!("{{{body}}}")),
        }
    }

    fn group(&mut self) -> Result<(), String> {
        if self.rest.next_if_eq(&'?').is_none() {
            return self.emit("(", false);
        }
        let ahead: String = self.rest.clone().take(2).collect();
        let known = [":", "=", "!", ">", "<=", "<!", "P<"].into_iter().find(|opening| ahead.starts_with(opening));
        let opening = known.ok_or_else(|| format!("`(?{ahead}` cannot be carried over"))?;
        self.rest.nth(opening.len() - 1);
        self.emit(&format!("(?{opening}"), false)?;
        if opening == "P<" { self.group_name() } else { Ok(()) }
    }

    fn group_name(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
            self.out.push(c);
        }
        match self.rest.next_if_eq(&'>') {
            Some(_) => self.emit(">", false),
            None => Err("a group name must end with `>`".into()),
        }
    }

    fn escape(&mut self) -> Result<(), String> {
        let c = self.rest.next().ok_or("it ends with a backslash")?;
        match c {
            'b' => self.emit(&format!("(?:(?<={WORD})(?!{WORD})|(?<!{WORD})(?={WORD}))"), false),
            'B' => self.emit(&format!("(?:(?<={WORD})(?={WORD})|(?<!{WORD})(?!{WORD}))"), false),
            'A' => self.emit(r"\A", false),
            'Z' => self.emit(r"\z", false),
            _ => match set(c) {
                Some(set) => self.emit(&format!("(?-i:[{set}])"), true),
                None => {
                    let c = self.character(c)?;
                    self.emit(&one(c, self.flags.ignore_case), true)
                }
            },
        }
    }

    /// The single character that `\` and `c` stand for, inside and outside classes.
    fn character(&mut self, c: char) -> Result<char, String> {
        match c {
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            'f' => Ok('\x0c'),
            'v' => Ok('\x0b'),
            'a' => Ok('\x07'),
            'x' => self.code(2),
            'u' => self.code(4),
            'U' => self.code(8),
            _ if c.is_ascii_alphanumeric() => Err(format!("`\\{c}` cannot be carried over")),
            _ => Ok(c),
        }
    }

    fn code(&mut self, digits: usize) -> Result<char, String> {
        let hex: String = self.rest.by_ref().take(digits).filter(char::is_ascii_hexdigit).collect();
        let code = u32::from_str_radix(&hex, 16).ok().filter(|_| hex.len() == digits);
        code.and_then(char::from_u32)
            .ok_or_else(|| format!("an escape needs {digits} hexadecimal digits that name a character"))
    }

    fn class(&mut self) -> Result<(), String> {
        let mut class = String::from("[");
        if self.rest.next_if_eq(&'^').is_some() {
            class.push('^');
        }
        let mut first = true;
        while let Some(c) = self.rest.next() {
            if c == ']' && !first {
                class.push(']');
                return self.emit(&class, true);
            }
            self.class_item(c, &mut class)?;
            first = false;
        }
        Err("a class must end with `]`".into())
    }

    /// One character, set or range of a class.
    fn class_item(&mut self, c: char, class: &mut String) -> Result<(), String> {
        let low = match self.class_member(c)? {
            Member::Set(set) => {
                class.push_str(&set);
                return Ok(());
            }
            Member::One(low) => low,
        };
        let mut ahead = self.rest.clone();
        let ranged = ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']');
        let high = if ranged { self.range_end()? } else { low };
        if low > high {
            return Err(format!("the range {low}-{high} is empty"));
        }
        class.push_str(&format!("{}-{}", escaped(low), escaped(high)));
        if self.flags.ignore_case && LETTERS_I.iter().any(|i| (low..=high).contains(i)) {
            class.extend(LETTERS_I);
        }
        Ok(())
    }

    fn range_end(&mut self) -> Result<char, String> {
        self.rest.next();
        let c = self.rest.next().ok_or("a class must end with `]`")?;
        match self.class_member(c)? {
            Member::One(high) => Ok(high),
            Member::Set(_) => Err("a range cannot end with a set".into()),
        }
    }

    fn class_member(&mut self, c: char) -> Result<Member, String> {
        if c != '\\' {
            return Ok(Member::One(c));
        }
        let c = self.rest.next().ok_or("it ends with a backslash")?;
        match set(c) {
            Some(set) => Ok(Member::Set(format!("[{set}]"))),
            None if c == 'b' => Ok(Member::One('\x08')),
            None => self.character(c).map(Member::One),
        }
    }
}

enum Member {
    One(char),
    Set(String),
}

/// The inside of a class with the characters that `\` and `c` stand for, where that is a set.
fn set(c: char) -> Option<String> {
    Some(match c {
        'd' => r"\d".into(),
        'D' => r"^\d".into(),
        'w' => WORD_SET.into(),
        'W' => format!("^{WORD_SET}"),
        's' => SPACE_SET.into(),
        'S' => format!("^{SPACE_SET}"),
        _ => return None,
    })
}
